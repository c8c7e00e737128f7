import { mkdirSync, rmSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import type { Channel } from '#common/grpc/client.ts';
import type { Logger } from '#common/log.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import { forEachBounded } from '../bounded.ts';
import type { RemoteStreams } from '../streaming/remote-command/remote-streams.ts';
import { Budget, CapturedOutput } from './captured-output.ts';
import { ExecProcess, quote, RESTART_MS, type Tasks } from './exec-process.ts';
import type { ExecResult, Executor } from './executor.ts';
import { orStopped } from './or-stopped.ts';
import { StreamedPipes } from './streamed-pipes.ts';

export interface TaskExecutorOptions {
  readonly channel: Channel;
  /** Folder for FIFOs, one for each command that is under way; only this executor uses it. */
  readonly stateDirectory: string;
  readonly log: Logger;
}

/** Both streams, less room for the rest of the message and the lines about truncation. */
const OUTPUT_BYTES = 16 * 1024 * 1024 - 4096;
/** How long output may be held open by what the command left behind. */
const DRAIN_MS = 1000;
const RECOVERED_AT_ONCE = 16;

/** Runs commands as processes of a container's task, with FIFOs that are read here. */
export class TaskExecutor implements Executor {
  readonly #channel: Channel;
  readonly #tasks: Tasks;
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: TaskExecutorOptions) {
    this.#channel = options.channel;
    this.#tasks = options.channel.client<TasksHandlers, TasksDefinition>('containerd.services.tasks.v1.Tasks');
    this.#directory = options.stateDirectory;
    this.#log = options.log;
  }

  async recover(): Promise<void> {
    const left = await readdir(this.#directory).catch(() => []);
    await forEachBounded(left, { width: RECOVERED_AT_ONCE, perItemMs: RESTART_MS }, async (name) => {
      const [containerId = '', execId = ''] = name.split(/-(?=[^-]*$)/);
      try {
        await new ExecProcess(this.#tasks, this.#log, containerId, [], execId).discard();
      } catch (error) {
        this.#log.error({ err: error, containerId, execId }, 'could not end a command that was left');
      }
      await rm(join(this.#directory, name), { recursive: true, force: true });
    });
  }

  async execSync(
    containerId: string,
    spec: RuntimeSpec,
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<ExecResult> {
    const exec = new ExecProcess(this.#tasks, this.#log, containerId, command);
    await this.#channel.waitReady(RESTART_MS);
    await using undo = new AsyncDisposableStack();
    const output = this.#openOutput(exec, undo);
    await exec.create(spec, false, { stdout: output[0]?.path ?? '', stderr: output[1]?.path ?? '' });
    undo.defer(() => exec.delete());
    const exit = exec.exit();
    exit.catch(() => undefined);
    await exec.start();
    for (const stream of output) stream.release();

    const stop = stopReasons(timeoutMs, signal);
    const exitCode = await orStopped(exit, stop);
    if (exitCode === undefined) {
      await exec.kill(exit);
      throw stopError(command, timeoutMs, signal);
    }
    await Promise.race([Promise.all(output.map(({ ended }) => ended)), sleep(DRAIN_MS, undefined, { ref: false })]);
    const [stdout, stderr] = output.map((stream) => stream.bytes()) as [Buffer, Buffer];
    return { stdout, stderr, exitCode };
  }

  async stream(
    containerId: string,
    spec: RuntimeSpec,
    command: readonly string[],
    tty: boolean,
    client: RemoteStreams,
  ): Promise<number> {
    const exec = new ExecProcess(this.#tasks, this.#log, containerId, command);
    await this.#channel.waitReady(RESTART_MS);
    await using undo = new AsyncDisposableStack();
    const folder = this.#folder(exec, undo);
    const pipes = undo.use(new StreamedPipes(folder, client));
    await exec.create(spec, tty, pipes.paths);
    undo.defer(() => exec.delete());
    const exit = exec.exit();
    exit.catch(() => undefined);
    await exec.start();
    pipes.started();
    client.onResize(({ width, height }) => void exec.resize(width, height));
    void pipes.stdinEnded.then(() => exec.closeStdin());
    const exitCode = await orStopped(exit, client.gone);
    if (exitCode === undefined) {
      await exec.kill(exit);
      throw BerthError.from(client.gone.reason, `command ${quote(command)} was killed`);
    }
    await pipes.drained(DRAIN_MS);
    return exitCode;
  }

  /** On tmpfs: what is asked of it takes microseconds, less than handing it to another thread. */
  #folder({ containerId, execId }: ExecProcess, undo: AsyncDisposableStack): string {
    const folder = join(this.#directory, `${containerId}-${execId}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    undo.defer(() => rmSync(folder, { recursive: true, force: true }));
    return folder;
  }

  #openOutput(exec: ExecProcess, undo: AsyncDisposableStack): CapturedOutput[] {
    const folder = this.#folder(exec, undo);
    const budget = new Budget(OUTPUT_BYTES);
    return ['stdout', 'stderr'].map((name) => {
      const stream = new CapturedOutput(join(folder, name), budget);
      undo.defer(() => stream.close());
      return stream;
    });
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

function stopError(command: readonly string[], timeoutMs: number, signal: AbortSignal | undefined): BerthError {
  if (signal?.aborted) return BerthError.from(signal.reason, `command ${quote(command)} was killed`);
  return new BerthError('deadline_exceeded', `command ${quote(command)} timed out after ${timeoutMs / 1000} s`);
}
