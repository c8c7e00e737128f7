import type { MetricsRegistry } from '#common/metrics/metrics-registry.ts';
import { pluginRuns } from './cni/plugin.ts';
import type { Runtime } from './runtime.ts';
import { sandboxState } from './sandbox-list.ts';

/** What berth-cri tells of itself beside what both daemons do. */
export function criMetrics(registry: MetricsRegistry, rt: Runtime): void {
  registry.gauge('berth_cri_sandboxes', 'Pod sandboxes.', ['state'], (set) => {
    const counts = countBy(rt.sandboxes.values(), (sandbox) => stateName(sandboxState(sandbox), 'SANDBOX_'));
    for (const state of ['ready', 'notready']) set({ state }, counts.get(state) ?? 0);
  });
  registry.gauge('berth_cri_containers', 'Containers of pods.', ['state'], (set) => {
    const counts = countBy(rt.containers.values(), ({ state }) => stateName(state, 'CONTAINER_'));
    for (const state of ['created', 'running', 'exited']) set({ state }, counts.get(state) ?? 0);
  });
  registry.gauge('berth_cri_streaming_connections', 'Clients of Exec, Attach and PortForward.', [], (set) => {
    set({}, rt.streaming.connections);
  });
  registry.counter('berth_cri_log_bytes_total', 'Bytes of container output written to logs.', [], (set) => {
    set({}, rt.logs.written.bytes);
  });
  registry.counter('berth_cri_log_entries_total', 'Entries written to container logs.', [], (set) => {
    set({}, rt.logs.written.entries);
  });
  const runs = registry.histogram(
    'berth_cri_cni_plugin_seconds',
    'Time that one run of a CNI plugin took.',
    ['command', 'plugin', 'outcome'],
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 90],
  );
  registry.follow(
    pluginRuns.follow(({ command, plugin, failed, seconds }) => {
      runs.observe({ command, plugin, outcome: failed ? 'failed' : 'succeeded' }, seconds);
    }),
  );
}

function countBy<T>(items: readonly T[], name: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(name(item), (counts.get(name(item)) ?? 0) + 1);
  return counts;
}

function stateName(state: string, prefix: string): string {
  return state.slice(prefix.length).toLowerCase();
}
