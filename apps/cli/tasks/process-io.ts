import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import { mkfifo, O, open } from '#common/native/index.ts';
import { write } from '../output/write.ts';

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

/** Standard streams of a process in the foreground: FIFOs whose other ends are ours. */
export class ProcessIo implements AsyncDisposable {
  readonly paths: IoPaths;
  readonly #dir: string;
  readonly #readers: readonly Socket[];
  readonly #copied: Promise<unknown>;
  #input: Socket | undefined;

  /** @throws BerthError `invalid_argument` when there is no terminal to hand through */
  static async open({ interactive, tty }: IoChoice): Promise<ProcessIo> {
    if (tty && !(process.stdin.isTTY && process.stdout.isTTY)) {
      throw new BerthError('invalid_argument', '--tty needs a terminal on standard input and output');
    }
    const dir = await mkdtemp(join(tmpdir(), 'berth-io-'));
    const paths = {
      stdin: interactive || tty ? join(dir, 'stdin') : '',
      stdout: join(dir, 'stdout'),
      stderr: tty ? '' : join(dir, 'stderr'),
      terminal: tty,
    };
    return new ProcessIo(dir, paths);
  }

  private constructor(dir: string, paths: IoPaths) {
    this.#dir = dir;
    this.paths = paths;
    for (const path of [paths.stdin, paths.stdout, paths.stderr]) if (path !== '') mkfifo(path, 0o600);
    const out = reader(paths.stdout);
    const err = paths.stderr === '' ? undefined : reader(paths.stderr);
    this.#readers = err === undefined ? [out] : [out, err];
    this.#copied = Promise.all([copy(out, process.stdout), err && copy(err, process.stderr)]);
  }

  /** Once the shim has opened its ends. `closeInput` tells it that no more input comes. */
  connectInput(closeInput: () => Promise<unknown>): void {
    if (this.paths.stdin === '') return;
    // The shim holds a read end: this doesn't fail for want of a reader.
    const input = new Socket({ fd: open(this.paths.stdin, O.WRONLY | O.NONBLOCK, 0), readable: false, writable: true });
    this.#input = input;
    // A process that reads no further is no failure; its exit says how it went.
    input.on('error', () => input.destroy());
    input.once('close', () => void closeInput().catch(() => undefined));
    if (this.paths.terminal) process.stdin.setRawMode(true);
    process.stdin.pipe(input);
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

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.paths.stdin !== '') {
      if (this.paths.terminal) process.stdin.setRawMode(false);
      process.stdin.destroy();
    }
    this.#input?.destroy();
    process.stdout.removeAllListeners('resize');
    for (const socket of this.#readers) socket.destroy();
    await rm(this.#dir, { recursive: true, force: true });
  }
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
