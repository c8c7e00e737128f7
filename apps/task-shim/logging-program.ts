import { BerthError } from '#common/errors.ts';
import { close, EPOLL, fionread, pipe, setNonblock, spawn } from '#common/native/index.ts';
import { poller } from '#common/native/poller.ts';
import { hasErrno } from '#common/node-error.ts';
import { sendSignal } from './process-family.ts';
import type { Reaper } from './reaper.ts';
import { openNull } from './stdio.ts';

/** Whose output a logging program takes. */
export interface Logged {
  /** Of the container, or of the exec. */
  readonly id: string;
  readonly namespace: string;
}

const sigterm = 15;
const sigkill = 9;
/** How long a program may take after SIGTERM. */
const termMs = 5000;

/**
 * The program of a `binary://` URI, which takes a process's output through pipes (containerd, `docs/runtime-v2.md`,
 * "Logging"). Its environment is CONTAINER_ID and CONTAINER_NAMESPACE alone; its descriptors are /dev/null three times,
 * then 3 and 4 with stdout and stderr, and 5, which it closes when it is ready; with `binary-v2://` it writes a byte
 * there first. Keys and values of the URI's query are its arguments.
 */
export class LoggingProgram {
  /** Settles when the program has ended, which it does at the end of what it reads. */
  readonly ended: Promise<void>;
  readonly #pid: number;
  #outputs: readonly [number, number] | undefined;
  #isThere = true;

  private constructor(pid: number, outputs: readonly [number, number], reaper: Reaper) {
    this.#outputs = outputs;
    this.#pid = pid;
    this.ended = new Promise((resolve) => {
      reaper.onExit(pid, () => {
        this.#isThere = false;
        resolve();
      });
    });
  }

  /**
   * Runs the program and waits until it is ready; an aborted signal kills it.
   * Throws `failed_precondition` when it can't be run or isn't ready.
   */
  static async start(uri: string, logged: Logged, reaper: Reaper, signal?: AbortSignal): Promise<LoggingProgram> {
    const { path, args } = commandOf(uri);
    const env = [`CONTAINER_ID=${logged.id}`, `CONTAINER_NAMESPACE=${logged.namespace}`];
    const devNull = openNull();
    const [outRead, outWrite] = pipe(0);
    const [errRead, errWrite] = pipe(0);
    const [readyRead, readyWrite] = pipe(0);
    let program: LoggingProgram;
    try {
      const pid = spawn([path, ...args], env, '/', [devNull, devNull, devNull, outRead, errRead, readyWrite], false);
      program = new LoggingProgram(pid, [outWrite, errWrite], reaper);
    } catch (error) {
      for (const fd of [outWrite, errWrite, readyRead]) close(fd);
      if (!hasErrno(error, 'ENOENT', 'EACCES')) throw error;
      throw new BerthError('failed_precondition', `the logging program ${path} can't be run`, { cause: error });
    } finally {
      for (const fd of [devNull, outRead, errRead, readyWrite]) close(fd);
    }
    const said = await firstByte(readyRead, signal, () => program.#signal(sigkill));
    if (said || !uri.startsWith('binary-v2:')) return program;
    program.stop();
    throw new BerthError('failed_precondition', `the logging program ${path} did not say that it is ready`);
  }

  /** The ends for the process's stdout and stderr; who takes them closes them. */
  takeOutputs(): readonly [number, number] {
    const outputs = this.#outputs;
    if (outputs === undefined) throw new BerthError('internal', 'the outputs of a logging program are taken');
    this.#outputs = undefined;
    return outputs;
  }

  /** Ends it, with some time to write what it has. */
  stop(): void {
    for (const fd of this.#outputs ?? []) close(fd);
    this.#outputs = undefined;
    if (!this.#isThere) return;
    this.#signal(sigterm);
    const timer = setTimeout(() => this.#signal(sigkill), termMs);
    void this.ended.then(() => clearTimeout(timer));
  }

  #signal(signal: number): void {
    if (this.#isThere) sendSignal(this.#pid, signal);
  }
}

/** A key without a value gives an empty argument; of a key's values the first counts. */
function commandOf(uri: string): { path: string; args: string[] } {
  const { pathname, searchParams } = new URL(uri);
  const keys = [...new Set(searchParams.keys())];
  return { path: decodeURIComponent(pathname), args: keys.flatMap((key) => [key, searchParams.get(key) ?? '']) };
}

/** Whether a byte comes before the end; closes the descriptor. */
async function firstByte(fd: number, signal: AbortSignal | undefined, aborted: () => void): Promise<boolean> {
  setNonblock(fd, true);
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted) aborted();
  try {
    await new Promise<void>((resolve) => poller.add(fd, EPOLL.IN, resolve));
    return fionread(fd) > 0;
  } finally {
    signal?.removeEventListener('abort', aborted);
    poller.remove(fd);
    close(fd);
  }
}
