import type { PodSandboxStats } from '#proto/runtime/v1/PodSandboxStats.ts';
import type { PodSandboxStatsFilter__Output } from '#proto/runtime/v1/PodSandboxStatsFilter.ts';
import { matchesLabels } from './label-selector.ts';
import type { Runtime } from './runtime.ts';
import type { Sandbox } from './store/sandbox.ts';

/** PodSandboxStats: of the pod's cgroup, its network, and its containers that run. @throws not_found */
export async function sandboxStats(rt: Runtime, id: string): Promise<PodSandboxStats> {
  return await statsOf(rt, rt.sandboxes.get(id));
}

/** ListPodSandboxStats: of pods that are ready. Ids in the filter may be cut short. */
export async function listSandboxStats(
  rt: Runtime,
  filter: PodSandboxStatsFilter__Output | null,
): Promise<PodSandboxStats[]> {
  rt.stats.keep((id) => rt.containers.has(id) || rt.sandboxes.has(id));
  const asked = rt.sandboxes.values().filter((sandbox) => {
    if (!sandbox.ready) return false;
    const { labels } = sandbox.metadata.config;
    return filter === null || (sandbox.id.startsWith(filter.id) && matchesLabels(labels, filter.labelSelector));
  });
  return await Promise.all(asked.map((sandbox) => statsOf(rt, sandbox)));
}

async function statsOf(rt: Runtime, sandbox: Sandbox): Promise<PodSandboxStats> {
  const containers = rt.containers.values().filter(({ state, metadata }) => {
    return metadata.sandboxId === sandbox.id && state === 'CONTAINER_RUNNING';
  });
  return await rt.stats.ofSandbox(sandbox, containers);
}
