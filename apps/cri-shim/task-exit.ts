import { nowNs } from '#common/timestamp.ts';
import { type TaskExit, unknownExitCode } from './core-client/types.ts';
import type { Runtime } from './runtime.ts';
import { updateContainer, updateSandbox } from './status-update.ts';
import type { Container } from './store/container.ts';
import type { Sandbox } from './store/sandbox.ts';
import { discardTask } from './task-discard.ts';

/** How long the end of a container waits for its output when a process that outlived it still holds the FIFO. */
const drainMs = 2_000;

/** An end as it is known: `unseen` when nothing but the absence of the task tells of it. */
export type SeenExit = TaskExit & { readonly unseen?: boolean };

/** The end of a task that is gone. */
export function unseenExit(): SeenExit {
  return { exitCode: unknownExitCode, exitedAt: nowNs(), unseen: true };
}

/**
 * A container's process has ended: its last output goes to the log, the end is stored, and only then the task is
 * freed, so that a crash in between loses nothing. Doing it twice is harmless.
 */
export async function containerExited(rt: Runtime, container: Container, exit: SeenExit): Promise<void> {
  await rt.queue.run(container.id, async () => {
    const first = container.status.finishedAt === undefined;
    if (first) {
      await rt.logs.drained(container.id, drainMs);
      await updateContainer(rt, container, {
        finishedAt: exit.exitedAt.toString(),
        exitCode: exit.exitCode,
        ...(exit.unseen ? { reason: 'Unknown', message: 'the task was gone before anyone saw it end' } : {}),
        ...(container.oomSeen && exit.exitCode !== 0 ? { oomKilled: true } : {}),
      });
      rt.log.info({ id: container.id, exitCode: exit.exitCode }, 'container exited');
      rt.podEvents.container('CONTAINER_STOPPED_EVENT', container);
    }
    await rt.core.deleteTask(container.id);
    container.hasTask = false;
    await rt.logs.detach(container.id);
    await rt.stdio.remove(container.id);
    if (!first) return;
    const sandbox = rt.sandboxes.find(container.metadata.sandboxId);
    await rt.nri.told(
      'StopContainer',
      rt.nri.stopContainer(sandbox, container, () => rt.core.spec(container.id)),
    );
  });
}

/** A pod's pause process has ended: the pod is no longer ready. Its network stays until StopPodSandbox. */
export async function sandboxExited(rt: Runtime, sandbox: Sandbox, exit: TaskExit): Promise<void> {
  await rt.queue.run(taskKey(sandbox), async () => {
    if (sandbox.status.exitedAt === undefined) {
      await updateSandbox(rt, sandbox, { exitedAt: exit.exitedAt.toString() });
      rt.log.info({ id: sandbox.id }, 'pod sandbox exited');
      rt.podEvents.sandbox('CONTAINER_STOPPED_EVENT', sandbox);
    }
    if (sandbox.hasTask) await rt.core.deleteTask(sandbox.id);
    sandbox.hasTask = false;
  });
}

/** Frees what is left of a pod's task, once nobody else is at it. */
export async function freeSandboxTask(rt: Runtime, sandbox: Sandbox): Promise<void> {
  await rt.queue.run(taskKey(sandbox), async () => {
    if (sandbox.hasTask) await discardTask(rt.core, sandbox.id);
    sandbox.hasTask = false;
  });
}

/** Not the pod's own key: under that StopPodSandbox waits for the end. */
function taskKey({ id }: Sandbox): string {
  return `task:${id}`;
}
