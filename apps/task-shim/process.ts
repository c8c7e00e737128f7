import { BerthError } from '#common/errors.ts';
import { readText } from '#common/native/files.ts';
import type { Console } from './console.ts';
import type { Logged, LoggingProgram } from './logging-program.ts';
import { familyOf, sendSignal } from './process-family.ts';
import type { Exit, Reaper } from './reaper.ts';
import type { ProcessStdio } from './runc.ts';
import { namesProgram, type Owner, Stdio, type StdioPaths } from './stdio.ts';

export type ProcessState = 'created' | 'running' | 'paused' | 'stopped';

/** What making a process needs besides the OCI runtime. */
export interface LaunchSurroundings {
  /** Where the runtime is to send a terminal. */
  readonly socketPath: string;
  readonly owner: Owner;
  readonly logged: Logged;
  readonly reaper: Reaper;
  /** Ends the waiting for a logging program. */
  readonly signal?: AbortSignal;
}

/**
 * One process of a container: init, or an exec. Keeps facts (pid, started, paused, exit); the state is derived.
 * The exit is remembered for as long as the object is.
 */
export class TaskProcess {
  /** Empty for init. */
  readonly execId: string;
  readonly paths: StdioPaths;
  /**
   * Settles once the exit may be known, which is after every event that must come before it.
   * Rejects with `not_found` for a process that is deleted without ever having run.
   */
  readonly ended: Promise<Exit>;
  readonly #settle: (exit: Exit) => void;
  readonly #giveUp: (reason: BerthError) => void;
  #pid = 0;
  #started = false;
  #paused = false;
  #stdinClosed = false;
  #exit: Exit | undefined;
  #stdio: Stdio | undefined;
  #console: Console | undefined;
  #program: LoggingProgram | undefined;

  constructor(execId: string, { stdin, stdout, stderr, terminal }: StdioPaths) {
    this.execId = execId;
    this.paths = { stdin, stdout, stderr, terminal };
    const { promise, resolve, reject } = Promise.withResolvers<Exit>();
    promise.catch(() => undefined);
    this.ended = promise;
    this.#settle = resolve;
    this.#giveUp = reject;
  }

  /** 0 until launched. */
  get pid(): number {
    return this.#pid;
  }

  get exit(): Exit | undefined {
    return this.#exit;
  }

  get state(): ProcessState {
    if (this.#exit !== undefined) return 'stopped';
    if (this.#paused) return 'paused';
    return this.#started ? 'running' : 'created';
  }

  /**
   * Lets the OCI runtime make the process with this one's stdio, and learns its pid. On failure nothing is open.
   */
  async launch(
    around: LaunchSurroundings,
    pidFile: string,
    run: (stdio: ProcessStdio) => Promise<void>,
  ): Promise<void> {
    try {
      await this.#launch(around, run);
    } catch (error) {
      this.#program?.stop();
      throw error;
    }
    if (this.#stdinClosed) this.closeStdin();
    this.#pid = readPid(pidFile);
  }

  async #launch(around: LaunchSurroundings, run: (stdio: ProcessStdio) => Promise<void>): Promise<void> {
    const program = await this.#startProgram(around);
    // What few containers need is loaded for those: an idle shim is small.
    if (this.paths.terminal) {
      const { Console, ConsoleSocket } = await import('./console.ts');
      const socket = new ConsoleSocket(around.socketPath);
      try {
        await run({ consoleSocket: socket.path });
        this.#console = new Console(socket.receive(), this.paths, program);
      } finally {
        socket.close();
      }
    } else {
      const stdio = Stdio.open(this.paths, around.owner, program);
      this.#stdio = stdio;
      try {
        await run({ fds: stdio.child });
        stdio.handedOver();
      } catch (error) {
        stdio.close();
        throw error;
      }
    }
  }

  async #startProgram({ logged, reaper, signal }: LaunchSurroundings): Promise<LoggingProgram | undefined> {
    const { stdout, stderr, terminal } = this.paths;
    if (!namesProgram(stdout)) return undefined;
    if (stderr !== stdout && !(stderr === '' && terminal)) {
      throw new BerthError('invalid_argument', `stdout goes to ${stdout}: so must stderr, not to "${stderr}"`);
    }
    const { LoggingProgram } = await import('./logging-program.ts');
    this.#program = await LoggingProgram.start(stdout, logged, reaper, signal);
    return this.#program;
  }

  markStarted(): void {
    this.#started = true;
  }

  /** It never came to be and is as it was created: its start may be tried again. */
  markStartFailed(): void {
    this.#started = false;
    this.#pid = 0;
  }

  markPaused(paused: boolean): void {
    this.#paused = paused;
  }

  markEnded(exit: Exit): void {
    if (this.#exit !== undefined) return;
    this.#exit = exit;
    this.closeStdin();
    this.#settle(exit);
  }

  /** Lets go of those who wait for a process that will never run. */
  forget(): void {
    this.#giveUp(new BerthError('not_found', `process ${this.execId} was deleted before it ran`));
  }

  /**
   * Sends a signal: to the process, and with it to those of `others` that come from it. The pid is this process's until
   * it is reaped, which happens here only.
   */
  signal(number: number, others: readonly number[] = []): void {
    if (this.#exit !== undefined) throw new BerthError('not_found', 'process already finished');
    if (this.#pid === 0) throw new BerthError('failed_precondition', 'process not created');
    const family = familyOf(this.#pid, others);
    if (!sendSignal(this.#pid, number)) throw new BerthError('not_found', 'process already finished');
    for (const pid of family) sendSignal(pid, number);
  }

  /** Without a terminal there is nothing to resize: no error, as containerd's shim does. */
  resize(rows: number, columns: number): void {
    this.#console?.resize(rows, columns);
  }

  /** A client with little to say closes its stdin before the process is there: that is remembered. */
  closeStdin(): void {
    this.#stdinClosed = true;
    this.#stdio?.closeStdin();
    this.#console?.closeStdin();
  }

  /**
   * Waits until a terminal's output is in its FIFO, and until a logging program has written what it got; at most `ms`,
   * because a FIFO without a reader may be full, and a grandchild may hold stdout.
   */
  async drained(ms: number): Promise<void> {
    if (this.#console === undefined && this.#program === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([Promise.all([this.#console?.drained, this.#program?.ended]), expired]);
    clearTimeout(timer);
  }

  /** Lets go of the stdio; unread output is lost. */
  closeIo(): void {
    this.#stdio?.close();
    this.#console?.close();
    this.#program?.stop();
  }
}

export function readPid(path: string): number {
  const pid = Number.parseInt(readText(path), 10);
  if (!(pid > 0)) throw new BerthError('internal', `the OCI runtime left no pid in ${path}`);
  return pid;
}
