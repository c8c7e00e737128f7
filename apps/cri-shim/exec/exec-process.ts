import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import type { Client } from '#common/grpc/client.ts';
import type { Logger } from '#common/log.ts';
import type { Process, RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import { descendantsOf, killMarked } from './descendants.ts';

export type Tasks = Client<TasksHandlers, TasksDefinition>;

/** FIFOs of a command; absent ones are /dev/null. */
export interface ExecStdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
}

/** For a killed command to be gone, and for taking everything back. */
const CLEANUP_MS = 10_000;
/** How long a berthd that is being restarted is waited for. */
export const RESTART_MS = 30_000;

const SIGKILL = 9;

/** One command in one container: a process of its task, from Exec to Delete. */
export class ExecProcess {
  readonly containerId: string;
  readonly execId: string;
  readonly #tasks: Tasks;
  readonly #log: Logger;
  readonly #command: readonly string[];
  #pid = 0;

  constructor(tasks: Tasks, log: Logger, containerId: string, command: readonly string[], execId = newExecId()) {
    this.#tasks = tasks;
    this.#log = log;
    this.containerId = containerId;
    this.execId = execId;
    this.#command = command;
  }

  get #ids() {
    return { containerId: this.containerId, execId: this.execId };
  }

  /**
   * Makes the command, has its exit waited for, and starts it. All three calls leave at once: each way to the shim and
   * back takes a millisecond or two. `delete` has to follow, also after a failure.
   */
  async launch(spec: RuntimeSpec, terminal: boolean, stdio: ExecStdio): Promise<{ readonly exit: Promise<number> }> {
    const created = this.#create(spec, terminal, stdio);
    const exit = behind(created, () => this.exit());
    const started = behind(created, async () => {
      this.#pid = (await this.#tasks.start(this.#ids)).pid;
    });
    exit.catch(() => undefined);
    try {
      await created;
    } catch (error) {
      // Its answer may have been lost on the way.
      if (await hasSucceeded(started)) await this.kill(exit);
      throw error;
    }
    try {
      await started;
    } catch (error) {
      throw startError(this.containerId, this.#command, error);
    }
    return { exit };
  }

  async #create(spec: RuntimeSpec, terminal: boolean, stdio: ExecStdio): Promise<void> {
    const process = { ...spec.process, args: [...this.#command], terminal } as Process;
    await this.#tasks.exec({ ...this.#ids, ...stdio, terminal, spec: packJson(typeUrls.process, process) });
  }

  /** Kills and frees a command that an earlier process of this daemon left; one that is gone is no error. */
  async discard(): Promise<void> {
    try {
      const { process } = await this.#tasks.get(this.#ids, { timeoutMs: CLEANUP_MS });
      this.#pid = process?.pid ?? 0;
      if (process?.status === 'RUNNING' || process?.status === 'PAUSED') await this.kill(this.exit());
    } catch (error) {
      if (!isCode(error, 'not_found')) throw error;
    }
    await this.delete();
  }

  /** The exit code. Outlives a restart of berthd. */
  async exit(): Promise<number> {
    let unreachableSince: number | undefined;
    for (;;) {
      try {
        return (await this.#tasks.wait(this.#ids)).exitStatus;
      } catch (error) {
        unreachableSince ??= Date.now();
        if (!isCode(error, 'unavailable') || Date.now() - unreachableSince > RESTART_MS) throw error;
        await sleep(100);
      }
    }
  }

  /** Kills the command and whatever it started in its container, and waits until it is gone. */
  async kill(exit: Promise<number>): Promise<void> {
    const children = await this.#childrenInContainer();
    try {
      await this.#tasks.kill({ ...this.#ids, signal: SIGKILL }, { timeoutMs: CLEANUP_MS });
    } catch (error) {
      if (!isCode(error, 'not_found')) this.#log.warn({ err: error, ...this.#ids }, 'could not kill a command');
    }
    await Promise.all(children.map(killMarked));
    await Promise.race([exit.catch(() => undefined), sleep(CLEANUP_MS, undefined, { ref: false })]);
  }

  /** The command has nothing more to read. One that has ended is no error. */
  async closeStdin(): Promise<void> {
    await this.#ignoreEnded(this.#tasks.closeIO({ ...this.#ids, stdin: true }, { timeoutMs: CLEANUP_MS }));
  }

  async resize(width: number, height: number): Promise<void> {
    await this.#ignoreEnded(this.#tasks.resizePty({ ...this.#ids, width, height }, { timeoutMs: CLEANUP_MS }));
  }

  async delete(): Promise<void> {
    try {
      await this.#tasks.deleteProcess(this.#ids, { timeoutMs: CLEANUP_MS });
    } catch (error) {
      // With the container's task its commands are gone.
      if (!isCode(error, 'not_found'))
        this.#log.warn({ err: error, ...this.#ids }, 'a command is left in its container');
    }
  }

  async #ignoreEnded(call: Promise<unknown>): Promise<void> {
    try {
      await call;
    } catch (error) {
      this.#log.debug({ err: error, ...this.#ids }, 'a command was no longer there');
    }
  }

  /** Only processes that berthd, too, counts to the container: a pid of another runtime may mean something else. */
  async #childrenInContainer() {
    const { containerId } = this;
    try {
      const { processes } = await this.#tasks.listPids({ containerId }, { timeoutMs: CLEANUP_MS });
      const inContainer = new Set(processes.map((each) => each.pid));
      if (!inContainer.has(this.#pid)) return [];
      return (await descendantsOf(this.#pid)).filter((mark) => inContainer.has(mark.pid));
    } catch (error) {
      this.#log.debug({ err: error, containerId }, 'could not list the processes of a container');
      return [];
    }
  }
}

/**
 * A call for a process that another call, `created`, is about to make. Berth's daemons take calls up in the order in which
 * they were made; gRPC doesn't promise it, so one that found no process is made again once there is one.
 */
async function behind<T>(created: Promise<void>, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    await created;
    if (!isCode(error, 'not_found')) throw error;
    return await call();
  }
}

async function hasSucceeded(call: Promise<unknown>): Promise<boolean> {
  return await call.then(
    () => true,
    () => false,
  );
}

function newExecId(): string {
  return randomBytes(16).toString('hex');
}

/** The OCI runtimes tell a missing program in words only. */
function startError(containerId: string, command: readonly string[], error: unknown): BerthError {
  const missing = /executable file .*not found|no such file or directory/i.test(messageOf(error));
  if (!missing) return BerthError.from(error, `command ${quote(command)} in container ${containerId}`);
  return new BerthError(
    'not_found',
    `command ${quote(command.slice(0, 1))} is not in container ${containerId}: ${messageOf(error)}`,
    { cause: error },
  );
}

/** A command for a message. */
export function quote(command: readonly string[]): string {
  return JSON.stringify(command.join(' ').slice(0, 200));
}
