import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import type { Channel, Client } from '#common/grpc/client.ts';
import type { Logger } from '#common/log.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import { Budget, CapturedOutput } from './captured-output.ts';
import { descendantsOf, killMarked } from './descendants.ts';
import type { ExecResult, Executor } from './executor.ts';

export interface TaskExecutorOptions {
  readonly channel: Channel;
  /** Folder for FIFOs; only this executor uses it, and empties it at its start. */
  readonly stateDirectory: string;
  readonly log: Logger;
}

/** Both streams, less room for the rest of the message and the lines about truncation. */
const OUTPUT_BYTES = 16 * 1024 * 1024 - 4096;
/** How long output may be held open by what the command left behind. */
const DRAIN_MS = 1000;
/** For a killed command to be gone, and for taking everything back. */
const CLEANUP_MS = 10_000;
/** How long a berthd that is being restarted is waited for. */
const RESTART_MS = 30_000;

const SIGKILL = 9;

/** One command in one container. */
interface Exec {
  readonly containerId: string;
  readonly execId: string;
}

/** Runs commands as processes of a container's task, with FIFOs that are read here. */
export class TaskExecutor implements Executor {
  readonly #channel: Channel;
  readonly #tasks: Client<TasksHandlers, TasksDefinition>;
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: TaskExecutorOptions) {
    this.#channel = options.channel;
    this.#tasks = options.channel.client('containerd.services.tasks.v1.Tasks');
    this.#directory = options.stateDirectory;
    this.#log = options.log;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async execSync(
    containerId: string,
    spec: RuntimeSpec,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult> {
    const exec = { containerId, execId: randomBytes(16).toString('hex') };
    await this.#channel.waitReady(RESTART_MS);
    await using undo = new AsyncDisposableStack();
    const output = await this.#openOutput(exec, undo);
    await this.#create(exec, spec, command, output);
    undo.defer(() => this.#delete(exec));
    const exit = this.#exitOf(exec);
    exit.catch(() => undefined);
    const { pid } = await this.#start(exec, command);
    await Promise.all(output.map((stream) => stream.release()));

    const stop = stopReasons(timeoutMs, signal);
    const exitCode = await orStopped(exit, stop);
    if (exitCode === undefined) {
      await this.#kill(exec, pid, exit);
      throw stopError(command, timeoutMs, signal);
    }
    await Promise.race([Promise.all(output.map(({ ended }) => ended)), sleep(DRAIN_MS, undefined, { ref: false })]);
    const [stdout, stderr] = output.map((stream) => stream.bytes()) as [Buffer, Buffer];
    return { stdout, stderr, exitCode };
  }

  async #openOutput({ containerId, execId }: Exec, undo: AsyncDisposableStack): Promise<CapturedOutput[]> {
    const folder = join(this.#directory, `${containerId}-${execId}`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    undo.defer(() => rm(folder, { recursive: true, force: true }));
    const budget = new Budget(OUTPUT_BYTES);
    return ['stdout', 'stderr'].map((name) => {
      const stream = new CapturedOutput(join(folder, name), budget);
      undo.defer(() => stream.close());
      return stream;
    });
  }

  async #create(exec: Exec, spec: RuntimeSpec, command: readonly string[], output: CapturedOutput[]): Promise<void> {
    const process = { ...spec.process, args: [...command], terminal: false };
    await this.#tasks.exec({
      ...exec,
      stdout: output[0]?.path ?? '',
      stderr: output[1]?.path ?? '',
      spec: packJson(typeUrls.process, process),
    });
  }

  async #start(exec: Exec, command: readonly string[]): Promise<{ pid: number }> {
    try {
      return await this.#tasks.start(exec);
    } catch (error) {
      throw startError(exec, command, error);
    }
  }

  /** The exit code. Outlives a restart of berthd. */
  async #exitOf(exec: Exec): Promise<number> {
    let unreachableSince: number | undefined;
    for (;;) {
      try {
        return (await this.#tasks.wait(exec)).exitStatus;
      } catch (error) {
        unreachableSince ??= Date.now();
        if (!isCode(error, 'unavailable') || Date.now() - unreachableSince > RESTART_MS) throw error;
        await sleep(100);
      }
    }
  }

  /** Kills the command and whatever it started in its container, and waits until it is gone. */
  async #kill(exec: Exec, pid: number, exit: Promise<number>): Promise<void> {
    const children = await this.#childrenInContainer(exec, pid);
    try {
      await this.#tasks.kill({ ...exec, signal: SIGKILL }, { timeoutMs: CLEANUP_MS });
    } catch (error) {
      if (!isCode(error, 'not_found')) this.#log.warn({ err: error, ...exec }, 'could not kill a command');
    }
    await Promise.all(children.map(killMarked));
    await Promise.race([exit.catch(() => undefined), sleep(CLEANUP_MS, undefined, { ref: false })]);
  }

  /** Only processes that berthd, too, counts to the container: a pid of another runtime may mean something else. */
  async #childrenInContainer({ containerId }: Exec, pid: number) {
    try {
      const { processes } = await this.#tasks.listPids({ containerId }, { timeoutMs: CLEANUP_MS });
      const inContainer = new Set(processes.map((each) => each.pid));
      if (!inContainer.has(pid)) return [];
      return (await descendantsOf(pid)).filter((mark) => inContainer.has(mark.pid));
    } catch (error) {
      this.#log.debug({ err: error, containerId }, 'could not list the processes of a container');
      return [];
    }
  }

  async #delete(exec: Exec): Promise<void> {
    try {
      await this.#tasks.deleteProcess(exec, { timeoutMs: CLEANUP_MS });
    } catch (error) {
      // With the container's task its commands are gone.
      if (!isCode(error, 'not_found')) this.#log.warn({ err: error, ...exec }, 'a command is left in its container');
    }
  }
}

/** Fires when the caller leaves or the time is up; never without either. */
function stopReasons(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal | undefined {
  const reasons = [
    ...(signal === undefined ? [] : [signal]),
    ...(timeoutMs > 0 ? [AbortSignal.timeout(timeoutMs)] : []),
  ];
  return reasons.length === 0 ? undefined : AbortSignal.any(reasons);
}

async function orStopped<T>(result: Promise<T>, stop: AbortSignal | undefined): Promise<T | undefined> {
  if (stop === undefined) return result;
  const stopped = Promise.withResolvers<undefined>();
  const onStop = () => stopped.resolve(undefined);
  stop.addEventListener('abort', onStop, { once: true });
  if (stop.aborted) onStop();
  try {
    return await Promise.race([result, stopped.promise]);
  } finally {
    stop.removeEventListener('abort', onStop);
  }
}

function stopError(command: readonly string[], timeoutMs: number, signal: AbortSignal | undefined): BerthError {
  if (signal?.aborted) return BerthError.from(signal.reason, `command ${quote(command)} was killed`);
  return new BerthError('deadline_exceeded', `command ${quote(command)} timed out after ${timeoutMs / 1000} s`);
}

/** The OCI runtimes tell a missing program in words only. */
function startError({ containerId }: Exec, command: readonly string[], error: unknown): BerthError {
  const missing = /executable file .*not found|no such file or directory/i.test(messageOf(error));
  if (!missing) return BerthError.from(error, `command ${quote(command)} in container ${containerId}`);
  return new BerthError(
    'not_found',
    `command ${quote(command.slice(0, 1))} is not in container ${containerId}: ${messageOf(error)}`,
    { cause: error },
  );
}

function quote(command: readonly string[]): string {
  return JSON.stringify(command.join(' ').slice(0, 200));
}
