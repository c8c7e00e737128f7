import { BerthError } from '#common/errors.ts';
import { stuckProcess } from './process-state.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';
import { awaitExit, exitsWithin } from './task-wait.ts';

const sigkill = 9;

/** StopContainer. A container that is unknown or doesn't run counts as stopped. */
export async function stopContainerById(
  rt: Runtime,
  id: string,
  graceSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  const container = rt.containers.find(id);
  if (container !== undefined) await stopContainer(rt, container, graceSeconds * 1000, signal);
}

/**
 * Asks the container to end, and after `graceMs` makes it. Calls join: the stop signal is sent once, and the shortest
 * grace period counts.
 *
 * @throws deadline_exceeded when the process doesn't even end by SIGKILL, saying what it hangs in.
 */
export async function stopContainer(
  rt: Runtime,
  container: Container,
  graceMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const { id } = container;
  // A start that is under way comes to its end first.
  await rt.queue.run(id, () => undefined);
  if (container.state !== 'CONTAINER_RUNNING') return;
  const { pid } = container;

  if (graceMs > 0) {
    container.killAt = Math.min(container.killAt, Date.now() + graceMs);
    if (!container.stopSignalled) {
      container.stopSignalled = true;
      await rt.core.killTask(id, container.metadata.stopSignal).catch((error: unknown) => {
        container.stopSignalled = false;
        throw error;
      });
    }
    // Another call may bring the time forward.
    for (let left = graceMs; left > 0; left = container.killAt - Date.now()) {
      if (await exitsWithin(container, Math.min(left, 1_000), signal)) return;
    }
  }
  container.killAt = Math.min(container.killAt, Date.now());
  await rt.core.killTask(id, sigkill, { all: sharesProcesses(container) });
  if (await awaitExit(rt, container, signal)) return;
  throw new BerthError('deadline_exceeded', `container ${id} doesn't end after SIGKILL: ${stuckProcess(pid)}`);
}

/** Without a PID namespace of its own the kernel doesn't end the rest of a container with its first process. */
function sharesProcesses(container: Container): boolean {
  return container.metadata.config.linux?.securityContext?.namespaceOptions?.pid !== 'CONTAINER';
}
