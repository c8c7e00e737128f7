import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { hasErrno } from '#common/node-error.ts';
import { timestampNow } from '#common/timestamp.ts';
import { socketPathOf } from './bootstrap.ts';
import type { Bundle, BundleFacts } from './bundle.ts';
import { settledServers } from './bundle-processes.ts';
import { type Exit, KILLED } from './exit.ts';
import { Shim } from './shim.ts';
import type { ShimCommand } from './shim-command.ts';
import { shimSocketPaths } from './shim-socket.ts';
import { Slots } from './slots.ts';

export interface ShimReaperOptions {
  readonly command: ShimCommand;
  readonly address: string;
  readonly socketDir: string;
  readonly log: Logger;
}

const SETTLE_MS = 5000;
const CONNECT_MS = 1000;
const CALL_MS = 3000;
const GONE_MS = 2000;
const SIGKILL = 9;
/** Commands that clear up behind shims at a time: when every shim of a node dies at once, the node has to stay usable. */
const CLEARING_AT_ONCE = 8;

/** Clears away shims that are dead, or that nobody will ever need. Works to its own deadlines, never a caller's. */
export class ShimReaper {
  readonly #options: ShimReaperOptions;
  readonly #slots = new Slots(CLEARING_AT_ONCE);

  constructor(options: ShimReaperOptions) {
    this.#options = options;
  }

  /**
   * For a shim that has died: lets its executable kill the container and unmount the rootfs, and answers how the init
   * process ended as far as can be known. The bundle stays. Doing it again does no harm. `shimBinary` is empty for a task
   * that a sandbox's shim served: its container has ended with the sandbox.
   */
  async clear(bundle: Bundle, shimBinary: string): Promise<Exit> {
    const log = this.#logOf(bundle);
    let exit: Exit | undefined;
    try {
      if (shimBinary !== '') exit = await this.#delete(bundle, shimBinary);
    } catch (error) {
      log.error({ err: error }, 'cleaning up after a dead shim');
    }
    try {
      await bundle.unmountRootfs();
      await this.#removeSockets(bundle);
    } catch (error) {
      log.error({ err: error }, 'cleaning up after a dead shim');
    }
    return exit ?? { pid: 0, exitStatus: KILLED, exitedAt: timestampNow() };
  }

  /**
   * For a task that was never acknowledged, or is already deleted: ends its shim, if there is one, clears up behind it and
   * removes the bundle.
   * @throws when the bundle can't be removed.
   */
  async reap(bundle: Bundle, facts: BundleFacts): Promise<void> {
    const { shimBinary } = facts;
    if (facts.sandbox !== undefined) await this.#leaveSandbox(bundle, facts);
    else if (shimBinary !== undefined) {
      const log = this.#logOf(bundle);
      const servers = await settledServers(bundle.path, shimBinary, SETTLE_MS);
      const ended = await this.#endServer(bundle, facts);
      const left = await stillThere(
        servers.map(({ pid }) => pid),
        ended ? GONE_MS : 0,
      );
      if (!ended) for (const pid of left) kill(pid);
      else if (left.length > 0) log.debug({ pids: left }, 'shim stays for other tasks');
      await this.#delete(bundle, shimBinary).catch((error: unknown) => {
        log.warn({ err: error }, 'cleaning up after a shim');
      });
      if (left.length === 0 || !ended) await this.#removeSockets(bundle);
      log.info('removed what an unfinished task left');
    }
    await bundle.remove();
  }

  /** The sandbox's shim goes on; it may have the task, or have ended long ago. */
  async #leaveSandbox(bundle: Bundle, { bootstrap }: BundleFacts): Promise<void> {
    if (bootstrap === undefined) return;
    try {
      await using shim = await Shim.connect(bootstrap, { timeoutMs: CONNECT_MS });
      await deleteTask(shim, bundle.id);
    } catch (error) {
      this.#logOf(bundle).debug({ err: error }, 'no sandbox to take the task from');
    }
  }

  /** Kills servers that work in the bundle: for a shim that doesn't answer Shutdown. */
  async killServers(bundle: Bundle, shimBinary: string): Promise<void> {
    for (const { pid } of await settledServers(bundle.path, shimBinary, 0)) kill(pid);
    await this.#removeSockets(bundle);
  }

  /** Whether a server answered that it will end, or was never there. */
  async #endServer(bundle: Bundle, facts: BundleFacts): Promise<boolean> {
    const addresses = new Set<string>();
    if (facts.bootstrap !== undefined) addresses.add(facts.bootstrap.address);
    else if (facts.address !== undefined) addresses.add(facts.address);
    for (const path of this.#socketPaths(bundle)) addresses.add(`unix://${path}`);
    let ended = false;
    for (const address of addresses) {
      if (!existsSync(socketPathOf(address))) continue;
      try {
        const version = facts.bootstrap?.version ?? 2;
        await using shim = await Shim.connect({ version, address, protocol: 'ttrpc' }, { timeoutMs: CONNECT_MS });
        await deleteTask(shim, bundle.id);
        await shutDown(shim, bundle.id);
        ended = true;
      } catch (error) {
        this.#logOf(bundle).debug({ err: error, address }, 'no shim to end here');
      }
    }
    return ended;
  }

  #delete(bundle: Bundle, shimBinary: string): Promise<Exit> {
    return this.#slots.run(() => this.#options.command.delete(shimBinary, bundle));
  }

  #socketPaths(bundle: Bundle): string[] {
    return shimSocketPaths(this.#options.socketDir, this.#options.address, bundle.namespace, bundle.id);
  }

  async #removeSockets(bundle: Bundle): Promise<void> {
    await Promise.all(this.#socketPaths(bundle).map((path) => rm(path, { force: true })));
  }

  #logOf(bundle: Bundle): Logger {
    return this.#options.log.child({ ns: bundle.namespace, id: bundle.id });
  }
}

/** Tells the shim to end. Its connection breaking is as good an answer as any. @throws deadline_exceeded and the like */
export async function shutDown(shim: Shim, id: string): Promise<void> {
  try {
    await shim.call('Shutdown', { id }, { timeoutMs: CALL_MS });
  } catch (error) {
    if (!shim.closed) throw error;
  }
}

async function deleteTask(shim: Shim, id: string): Promise<void> {
  try {
    await shim.call('Delete', { id }, { timeoutMs: CALL_MS });
  } catch (error) {
    if (!isCode(error, 'failed_precondition', 'unknown')) return;
    await shim.call('Kill', { id, signal: SIGKILL, all: true }, { timeoutMs: CALL_MS });
    await shim.call('Wait', { id }, { timeoutMs: CALL_MS });
    await shim.call('Delete', { id }, { timeoutMs: CALL_MS });
  }
}

/** Those of the processes that are alive after the time given; answers at once when none is. */
async function stillThere(pids: readonly number[], timeoutMs: number): Promise<number[]> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const left = pids.filter(isAlive);
    if (left.length === 0 || performance.now() >= deadline) return left;
    await sleep(20);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasErrno(error, 'ESRCH');
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!hasErrno(error, 'ESRCH')) throw error;
  }
}
