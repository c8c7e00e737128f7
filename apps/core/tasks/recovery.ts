import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { hasErrno } from '#common/node-error.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { ContainerStore } from '../containers/store.ts';
import { Bundle, type BundleFacts } from './bundle.ts';
import { settledServers } from './bundle-processes.ts';
import type { ShimResponse } from './shim.ts';
import { Shim } from './shim.ts';
import { ShimLog } from './shim-log.ts';
import { Task } from './task.ts';
import type { TaskManager } from './task-manager.ts';

export interface RecoveryOptions {
  readonly tasksDir: string;
  readonly manager: TaskManager;
  readonly containers: Pick<ContainerStore, 'get'>;
  readonly log: Logger;
}

/** How long the start waits for one shim. They are asked side by side. */
const SHIM_TIMEOUT_MS = 2000;

/**
 * Finds the tasks of an earlier daemon again. Rests on this:
 *
 * - A bundle is there before its shim is started and until after that has ended, so every shim has a bundle.
 * - `created` is there for as long as clients know of the task. Without it, whatever the bundle has is torn down: no
 *   client was told that it exists, or the world was told that it is gone. With it, the world is told now.
 * - Shims remember exits until they are deleted and repeat events until we acknowledge them. So nothing is published
 *   here for a shim that answers; only the death of a shim is news.
 * - A shim that is alive but doesn't answer keeps its container; only the calls to it fail.
 *
 * Settles when every task is known. Tearing down goes on behind it, each in its task's queue.
 */
export async function recoverTasks(options: RecoveryOptions): Promise<void> {
  const bundles = await findBundles(options.tasksDir);
  const startedAt = performance.now();
  const outcomes = await Promise.all(bundles.map((bundle) => recover(bundle, options)));
  const count = (outcome: Outcome) => outcomes.filter((one) => one === outcome).length;
  if (bundles.length === 0) return;
  const ms = Math.round(performance.now() - startedAt);
  options.log.info(
    { alive: count('alive'), dead: count('dead'), unfinished: count('unfinished'), ms },
    'tasks recovered',
  );
}

type Outcome = 'alive' | 'dead' | 'unfinished';

/** The bundles in a folder of them, by namespace and id. */
export async function findBundles(tasksDir: string): Promise<Bundle[]> {
  const bundles: Bundle[] = [];
  for (const namespace of await foldersIn(tasksDir)) {
    for (const id of await foldersIn(join(tasksDir, namespace))) {
      // A hidden folder is a bundle that was being removed; its rootfs was unmounted and removed before.
      if (id.startsWith('.')) await rm(join(tasksDir, namespace, id), { recursive: true, force: true });
      else bundles.push(new Bundle(tasksDir, namespace, id));
    }
  }
  return bundles;
}

async function foldersIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

async function recover(bundle: Bundle, options: RecoveryOptions): Promise<Outcome> {
  const log = options.log.child({ ns: bundle.namespace, id: bundle.id });
  try {
    const facts = await bundle.facts();
    const task = facts.created ? await revive(bundle, facts, log) : undefined;
    if (task !== undefined && (isRunning(task) || hasRecord(bundle, options.containers))) {
      options.manager.adopt(task.task);
      return task.task.lost ? 'dead' : 'alive';
    }
    task?.task.shim?.close();
    task?.task.shimLog?.close();
    void options.manager.tearDown(bundle, facts).catch((error: unknown) => {
      log.error({ err: error }, 'tearing down an unfinished task');
    });
  } catch (error) {
    log.error({ err: error }, 'recovering a task');
  }
  return 'unfinished';
}

interface Revived {
  readonly task: Task;
  /** undefined when the shim is dead, or alive without answering. */
  readonly state: ShimResponse<'State'> | undefined;
}

/** undefined when the shim says that it has no such task. */
async function revive(bundle: Bundle, facts: BundleFacts, log: Logger): Promise<Revived | undefined> {
  const { shimBinary = '', group, exit } = facts;
  const inSandbox = facts.sandbox !== undefined;
  const shim = await reconnect(bundle, facts);
  if (shim === undefined) {
    return {
      task: new Task({ bundle, shimBinary, group, shim, shimLog: undefined, inSandbox, exit }),
      state: undefined,
    };
  }
  const shimLog = new ShimLog(bundle.logFifo, log);
  const task = new Task({ bundle, shimBinary, group, shim, shimLog, inSandbox, exit });
  try {
    const state = await shim.call('State', { id: bundle.id }, { timeoutMs: SHIM_TIMEOUT_MS });
    const { status, pid, exitStatus, exitedAt } = state;
    if (status === 'STOPPED') task.recordExit({ pid, exitStatus, exitedAt: exitedAt ?? timestampNow() });
    return { task, state };
  } catch (error) {
    if (!isCode(error, 'not_found')) {
      log.warn({ err: error }, 'shim does not say its state');
      return { task, state: undefined };
    }
    shim.close();
    shimLog.close();
    return undefined;
  }
}

/** undefined when nothing serves at the shim's address and no process of it is left. */
async function reconnect(bundle: Bundle, facts: BundleFacts): Promise<Shim | undefined> {
  if (facts.bootstrap === undefined) return undefined;
  const deadline = performance.now() + SHIM_TIMEOUT_MS;
  for (;;) {
    try {
      return await Shim.connect(facts.bootstrap, { timeoutMs: SHIM_TIMEOUT_MS });
    } catch {
      const servers = await settledServers(bundle.path, facts.shimBinary ?? '', 0);
      if (servers.length === 0 || performance.now() > deadline) return undefined;
      await sleep(100);
    }
  }
}

/** Whether something lives in it, so that it mustn't be torn down even if its container's record is missing. */
function isRunning({ task, state }: Revived): boolean {
  return !task.lost && (state === undefined || state.status === 'RUNNING' || state.status === 'PAUSED');
}

function hasRecord(bundle: Bundle, containers: Pick<ContainerStore, 'get'>): boolean {
  try {
    containers.get(bundle.namespace, bundle.id);
    return true;
  } catch (error) {
    if (isCode(error, 'not_found')) return false;
    // It can't be read, but it is there.
    if (isCode(error, 'data_loss')) return true;
    throw error;
  }
}
