import { mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import type { Channel } from '#common/grpc/client.ts';
import type { Logger } from '#common/log.ts';
import { removeFile, removeFolder } from '#common/native/files.ts';
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
const FIFO_NAMES = ['stdin', 'stdout', 'stderr'];

/** Runs commands as processes of a container's task, with FIFOs that are read here. */
export class TaskExecutor implements Executor {
  readonly #channel: Channel;
  readonly #tasks: Tasks;
  readonly #directory: string;
  readonly #log: Logger;
  /** Commands whose result is told already. */
  readonly #clearing = new Set<Promise<void>>();

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
    undo.defer(() => exec.delete());
    const stdio = { stdout: output[0]?.path ?? '', stderr: output[1]?.path ?? '' };
    const { exit } = await exec.launch(spec, false, stdio);
    for (const stream of output) stream.release();

    const exitCode = await orStopped(exit, signal, timeoutMs);
    if (exitCode === undefined) {
      await exec.kill(exit);
      throw stopError(command, timeoutMs, signal);
    }
    await orStopped(Promise.all(output.map(({ ended }) => ended)), undefined, DRAIN_MS);
    const [stdout, stderr] = output.map((stream) => stream.bytes()) as [Buffer, Buffer];
    this.#clear(undo.move());
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
    undo.defer(() => exec.delete());
    const { exit } = await exec.launch(spec, tty, pipes.paths);
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

  /** Nobody waits for what is left of a command that has ended well, until the executor is disposed of. */
  #clear(rest: AsyncDisposableStack): void {
    // The answer goes first.
    const cleared = setImmediate()
      .then(() => rest.disposeAsync())
      .catch((error: unknown) => this.#log.error({ err: error }, 'could not clear up behind a command'))
      .finally(() => this.#clearing.delete(cleared));
    this.#clearing.add(cleared);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clearing);
  }

  /** On tmpfs: what is asked of it takes microseconds, less than handing it to another thread. */
  #folder({ containerId, execId }: ExecProcess, undo: AsyncDisposableStack): string {
    const folder = join(this.#directory, `${containerId}-${execId}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Each by its name: Node's recursive removal takes a millisecond.
    undo.defer(() => {
      for (const name of FIFO_NAMES) removeFile(join(folder, name));
      removeFolder(folder);
    });
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

function stopError(command: readonly string[], timeoutMs: number, signal: AbortSignal | undefined): BerthError {
  if (signal?.aborted) return BerthError.from(signal.reason, `command ${quote(command)} was killed`);
  return new BerthError('deadline_exceeded', `command ${quote(command)} timed out after ${timeoutMs / 1000} s`);
}
