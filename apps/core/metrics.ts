import type { MetricsRegistry } from '#common/metrics/metrics-registry.ts';
import { collections } from './gc/collector.ts';
import type { Database } from './metadata/database.ts';
import type { TaskManager } from './tasks/task-manager.ts';
import { pullOutcomes, type TransferMetrics } from './transfer/transfer-metrics.ts';

export interface CoreMetricsParts {
  readonly db: Database;
  readonly tasks: TaskManager;
  readonly transfers: TransferMetrics;
}

/** What berthd tells of itself beside what both daemons do. */
export function coreMetrics(registry: MetricsRegistry, { db, tasks, transfers }: CoreMetricsParts): void {
  for (const table of ['containers', 'images'] as const) {
    registry.gauge(`berth_${table}`, `Records of ${table}.`, ['namespace'], (set) => {
      const rows = db.all<{ ns: string; count: number }>(`SELECT ns, count(*) AS count FROM ${table} GROUP BY ns`);
      for (const { ns, count } of rows) set({ namespace: ns }, count);
    });
  }
  registry.gauge('berth_snapshots', 'Snapshots.', ['snapshotter', 'kind'], (set) => {
    const sql = 'SELECT snapshotter, kind, count(*) AS count FROM snapshots GROUP BY snapshotter, kind';
    const rows = db.all<{ snapshotter: string; kind: string; count: number }>(sql);
    for (const { snapshotter, kind, count } of rows) set({ snapshotter, kind }, count);
  });
  const blobs = 'SELECT DISTINCT digest, size FROM blobs';
  registry.gauge('berth_content_blobs', 'Blobs on disk.', [], (set) => {
    set({}, db.get<{ count: number }>(`SELECT count(*) AS count FROM (${blobs})`)?.count ?? 0);
  });
  registry.gauge('berth_content_bytes', 'Bytes of all blobs on disk.', [], (set) => {
    set({}, db.get<{ bytes: number | null }>(`SELECT sum(size) AS bytes FROM (${blobs})`)?.bytes ?? 0);
  });
  registry.gauge('berth_tasks', 'Tasks, running or ended.', ['namespace'], (set) => {
    for (const [namespace, count] of tasks.countByNamespace()) set({ namespace }, count);
  });
  registry.gauge('berth_shims', 'Shims that berthd is connected to.', [], (set) => set({}, tasks.shimCount));
  pullMetrics(registry, transfers);
  collectionMetrics(registry);
}

function pullMetrics(registry: MetricsRegistry, transfers: TransferMetrics): void {
  const seconds = registry.histogram(
    'berth_pull_seconds',
    'Time from the beginning of a pull to its end, unpacking included.',
    ['outcome'],
    [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800],
  );
  for (const outcome of pullOutcomes) seconds.zero({ outcome });
  transfers.onPull((outcome, duration) => seconds.observe({ outcome }, duration));
  registry.gauge('berth_pulls_running', 'Pulls under way.', [], (set) => set({}, transfers.running));
  const counters = [
    ['fetchedBytes', 'berth_registry_fetched_bytes_total', 'Bytes received from registries.'],
    ['resumedBytes', 'berth_registry_resumed_bytes_total', 'Bytes of broken-off downloads that were used.'],
    ['fetchedBlobs', 'berth_registry_fetched_blobs_total', 'Blobs fetched whole.'],
    ['sharedBlobs', 'berth_registry_shared_blobs_total', 'Blobs that were there, or that another pull brought.'],
    ['damagedBlobs', 'berth_registry_damaged_blobs_total', 'Blobs whose bytes were not what their digest says.'],
    ['failures', 'berth_registry_failures_total', 'Times that a registry broke off, or sent wrong bytes.'],
    ['stalls', 'berth_registry_stalls_total', 'Times that a registry had stopped sending.'],
  ] as const;
  for (const [key, name, help] of counters) {
    registry.counter(name, help, [], (set) => set({}, transfers.counts[key]));
  }
}

function collectionMetrics(registry: MetricsRegistry): void {
  const pause = registry.histogram(
    'berth_gc_pause_seconds',
    'How long a garbage collection kept everything else waiting.',
    [],
    [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
  );
  const types = ['images', 'blobs', 'snapshots', 'ingests', 'leases'] as const;
  const deleted = Object.fromEntries(types.map((type) => [type, 0])) as Record<(typeof types)[number], number>;
  registry.follow(
    collections.follow((collected) => {
      pause.observe({}, collected.pauseMs / 1000);
      for (const type of types) deleted[type] += collected[type];
    }),
  );
  registry.counter('berth_gc_deleted_total', 'What garbage collections took away.', ['type'], (set) => {
    for (const type of types) set({ type }, deleted[type]);
  });
}
