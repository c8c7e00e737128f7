import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import { mkfifo, O, open } from '#common/native/index.ts';
import { write } from '../output/write.ts';
import { DetachFilter } from './detach-keys.ts';

/** How a process is joined with this one. */
export interface IoChoice {
  /** Our standard input is the process's. */
  readonly interactive: boolean;
  /** The process gets a terminal, and ours is handed through. */
  readonly tty: boolean;
}

/** Paths of FIFOs as Create and Exec take them; empty: none. */
export interface IoPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** Of a process without any. */
export const noIo: IoPaths = { stdin: '', stdout: '', stderr: '', terminal: false };

/** A child of the process that keeps its output open isn't waited for longer than this. */
const drainMs = 2000;
const dirPrefix = 'berth-io-';

/** Standard streams of a process in the foreground: FIFOs whose other ends are ours. */
export class ProcessIo implements AsyncDisposable {
  readonly paths: IoPaths;
  readonly #readers: readonly Socket[];
  readonly #copied: Promise<unknown>;
  #input: Socket | undefined;
  #kept = false;

  /** Makes FIFOs for a new process. @throws BerthError `invalid_argument` when there is no terminal to hand through */
  static async open({ interactive, tty }: IoChoice): Promise<ProcessIo> {
    if (tty) requireTerminal('--tty needs');
    const dir = await mkdtemp(join(tmpdir(), dirPrefix));
    const paths = {
      stdin: interactive || tty ? join(dir, 'stdin') : '',
      stdout: join(dir, 'stdout'),
      stderr: tty ? '' : join(dir, 'stderr'),
      terminal: tty,
    };
    for (const path of [paths.stdin, paths.stdout, paths.stderr]) if (path !== '') mkfifo(path, 0o600);
    return new ProcessIo(paths);
  }

  /** Opens the FIFOs of a process that runs. @throws BerthError `invalid_argument`, as {@link open} does */
  static join(paths: IoPaths): ProcessIo {
    if (paths.terminal) requireTerminal('the task has a terminal, and needs');
    return new ProcessIo(paths);
  }

  private constructor(paths: IoPaths) {
    this.paths = paths;
    const [out, err] = [paths.stdout, paths.stderr].map((path) => (path === '' ? undefined : reader(path)));
    this.#readers = [out, err].filter((socket) => socket !== undefined);
    this.#copied = Promise.all([out && copy(out, process.stdout), err && copy(err, process.stderr)]);
  }

  /**
   * Once the shim has opened its ends. `closeInput` tells it that no more input comes; on a terminal, `detach` calls
   * back when its keys are pressed.
   */
  connectInput(closeInput: () => Promise<unknown>, detach?: { readonly keys: Buffer; pressed(): void }): void {
    if (this.paths.stdin === '') return;
    // The shim holds a read end: this doesn't fail for want of a reader.
    const input = new Socket({ fd: open(this.paths.stdin, O.WRONLY | O.NONBLOCK, 0), readable: false, writable: true });
    this.#input = input;
    // A process that reads no further is no failure; its exit says how it went.
    input.on('error', () => input.destroy());
    input.once('close', () => {
      if (!this.#kept) void closeInput().catch(() => undefined);
    });
    if (this.paths.terminal) process.stdin.setRawMode(true);
    if (this.paths.terminal && detach !== undefined) {
      process.stdin.pipe(new DetachFilter(detach.keys, detach.pressed)).pipe(input);
    } else process.stdin.pipe(input);
  }

  /** Calls back with the size of our terminal, now and whenever it changes. */
  onResize(resize: (size: { width: number; height: number }) => Promise<unknown>): void {
    if (!this.paths.terminal) return;
    const tell = () => {
      const { columns: width, rows: height } = process.stdout;
      resize({ width, height }).catch(() => undefined);
    };
    tell();
    process.stdout.on('resize', tell);
  }

  /** Resolves when all output has been written, or nothing more is waited for. */
  async drained(): Promise<void> {
    const timeout = new AbortController();
    await Promise.race([this.#copied, sleep(drainMs, undefined, { signal: timeout.signal }).catch(() => undefined)]);
    timeout.abort();
  }

  /** Leaves the FIFOs to the process, which goes on. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.paths.stdin !== '') {
      if (this.paths.terminal) process.stdin.setRawMode(false);
      process.stdin.destroy();
    }
    this.#input?.destroy();
    process.stdout.removeAllListeners('resize');
    for (const socket of this.#readers) socket.destroy();
    // Only what this program has made: other clients look after theirs.
    const dir = dirname(this.paths.stdout);
    if (!this.#kept && basename(dir).startsWith(dirPrefix)) await rm(dir, { recursive: true, force: true });
  }
}

function requireTerminal(what: string): void {
  if (process.stdin.isTTY && process.stdout.isTTY) return;
  throw new BerthError('invalid_argument', `${what} a terminal on standard input and output`);
}

function reader(path: string): Socket {
  return new Socket({ fd: open(path, O.RDONLY | O.NONBLOCK, 0), readable: true, writable: false });
}

async function copy(from: Socket, to: NodeJS.WriteStream): Promise<void> {
  try {
    for await (const chunk of from) await write(to, chunk as Buffer);
  } catch {
    // Destroyed: what comes later is not waited for.
  }
}
