import { setImmediate as nextTurn } from 'node:timers/promises';
import { cgroupFoldersOf } from '#common/cgroup/folders.ts';
import { metricsOf as metricsOfCgroup } from '#common/cgroup/metrics.ts';
import { isCode } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { Any } from '#common/typeurl.ts';
import type { Metric } from '#proto/containerd/types/Metric.ts';
import { isOwnShim } from './shim-command.ts';
import { Slots } from './slots.ts';
import type { Task } from './task.ts';

const SHIM_TIMEOUT_MS = 5000;

/**
 * What each task has used. A task that can't give any figures is left out, as containerd does; when none can because
 * no shim knows how, the client is told so.
 */
export async function metricsOf(tasks: readonly Task[], signal: AbortSignal, log: Logger): Promise<Metric[]> {
  const readings = new Slots(1);
  const results = await Promise.allSettled(
    tasks.map(async (task) => ({
      id: task.id,
      timestamp: timestampNow(),
      data: await statsOf(task, readings, signal),
    })),
  );
  const metrics: Metric[] = [];
  for (const result of results) {
    if (result.status === 'fulfilled') metrics.push(result.value);
    else if (!isCode(result.reason, 'not_found', 'unimplemented'))
      log.warn({ err: result.reason }, 'task left out of the metrics');
  }
  const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
  const unable = failures.find((failure) => isCode(failure, 'unimplemented'));
  if (metrics.length === 0 && unable !== undefined) throw unable;
  return metrics;
}

/**
 * The cgroups of our own shims' containers are read here, so that an idle shim stays asleep; another shim is asked,
 * whose container may be in a kernel of its own. Reading doesn't wait for anything, so other calls get their turn after
 * each container.
 */
async function statsOf(task: Task, readings: Slots, signal: AbortSignal): Promise<Any | null> {
  if (isOwnShim(task.shimBinary)) {
    const pid = await task.livingPid(signal);
    return await readings.run(async () => {
      await nextTurn();
      return metricsOfCgroup(cgroupFoldersOf(pid));
    });
  }
  const { stats } = await task.call('Stats', { id: task.id }, { timeoutMs: SHIM_TIMEOUT_MS, signal });
  return stats;
}
