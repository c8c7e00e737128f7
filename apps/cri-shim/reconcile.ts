import type { CoreTask } from './core-client/types.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';
import type { Sandbox } from './store/sandbox.ts';
import { containerExited, sandboxExited, unseenExit } from './task-exit.ts';

/** Looks at all tasks and handles the ends that no event has told of. One that can't be handled stops no other. */
export async function reconcile(rt: Runtime): Promise<void> {
  const tasks = await rt.core.listTasks();
  const work = [
    ...rt.sandboxes
      .values()
      .filter(({ status }) => status.startedAt !== undefined && status.exitedAt === undefined)
      .map((sandbox) => ({ id: sandbox.id, look: () => sandboxLook(rt, sandbox, tasks.get(sandbox.id)) })),
    ...rt.containers
      .values()
      .filter(({ state }) => state === 'CONTAINER_RUNNING')
      .map((container) => ({ id: container.id, look: () => containerLook(rt, container, tasks.get(container.id)) })),
  ];
  const results = await Promise.allSettled(work.map(({ look }) => look()));
  results.forEach((result, index) => {
    if (result.status === 'fulfilled') return;
    rt.log.warn({ id: work[index]?.id, err: result.reason }, 'could not handle the end of a task');
  });
}

async function sandboxLook(rt: Runtime, sandbox: Sandbox, listed: CoreTask | undefined): Promise<void> {
  const end = await endOf(rt, sandbox, listed);
  if (end !== undefined && sandbox.status.exitedAt === undefined) await sandboxExited(rt, sandbox, end);
}

async function containerLook(rt: Runtime, container: Container, listed: CoreTask | undefined): Promise<void> {
  const end = await endOf(rt, container, listed);
  if (end !== undefined) await containerExited(rt, container, end);
}

/** The list may be older than the task, or lack one whose shim answered late: only a second question tells that there is none. */
async function endOf(rt: Runtime, item: Container | Sandbox, listed: CoreTask | undefined) {
  const task = listed ?? (await rt.core.task(item.id));
  if (task === undefined) return unseenExit();
  if (task.status === 'STOPPED') return task;
  // Nobody could tell it when this daemon started.
  item.pid = task.pid;
  return undefined;
}
