import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import type { Core } from './core-client/core.ts';
import type { TaskExit } from './core-client/types.ts';

/** Tries of a task that was just killed; with the pauses between them about ten seconds. */
const tries = 100;
const pauseMs = 100;
const sigkill = 9;

/**
 * Ends a task whatever its state is, and frees it; one that doesn't exist is no error. For tasks that nobody watches:
 * those of an operation that failed, or of a crash.
 */
export async function discardTask(core: Core, id: string): Promise<TaskExit | undefined> {
  await core.killTask(id, sigkill);
  for (let left = tries; ; left -= 1) {
    try {
      return await core.deleteTask(id);
    } catch (error) {
      // Until the kernel has ended the process, deleting is refused.
      if (!isCode(error, 'failed_precondition') || left === 0) throw error;
    }
    await sleep(left === tries ? 10 : pauseMs);
  }
}
