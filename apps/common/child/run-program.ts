import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { close, memfd, pipe, seek, setNonblock } from '../native/index.ts';
import type { ChildExit, Children } from './children.ts';

export interface RunOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** What it finds on stdin. */
  readonly input: string | Uint8Array;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of each output that are kept. */
  readonly maxOutput: number;
}

export interface RunResult extends ChildExit {
  /** Why it was killed by us, if it was. */
  readonly stopped: 'timeout' | 'aborted' | undefined;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** How long output may come in after the program has ended, should a child of its hold the pipe. */
const drainMs = 200;

/** Runs a program to its end, with input and output in memory. Throws when it can't be run at all. */
export async function runProgram(
  children: Children,
  argv: readonly string[],
  { env, cwd, input, timeoutMs, signal, maxOutput }: RunOptions,
): Promise<RunResult> {
  const stdin = inputFile(input);
  const stdout = new OutputPipe(maxOutput);
  const stderr = new OutputPipe(maxOutput);
  let stopped: RunResult['stopped'];
  try {
    const child = children.start(argv, { env, cwd, fds: [stdin, stdout.writeEnd, stderr.writeEnd] });
    const stop = (why: 'timeout' | 'aborted'): void => {
      stopped ??= why;
      child.kill();
    };
    const timer = setTimeout(stop, timeoutMs, 'timeout');
    const onAbort = (): void => stop('aborted');
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    stdout.closeWriteEnd();
    stderr.closeWriteEnd();
    const exit = await child.exited;
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    const [out, err] = await Promise.all([stdout.rest(), stderr.rest()]);
    return { ...exit, stopped, stdout: out, stderr: err };
  } finally {
    closeSync(stdin);
    stdout[Symbol.dispose]();
    stderr[Symbol.dispose]();
  }
}

/** The input as a file in memory, at its start: nobody has to feed a pipe. */
function inputFile(input: string | Uint8Array): number {
  const fd = memfd('stdin');
  const bytes = Buffer.from(input);
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  seek(fd, 0);
  return fd;
}

class OutputPipe implements Disposable {
  readonly writeEnd: number;
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #ended: Promise<void>;
  #writeEndOpen = true;

  constructor(limit: number) {
    const [readEnd, writeEnd] = pipe(0);
    this.writeEnd = writeEnd;
    setNonblock(readEnd, true);
    this.#socket = new Socket({ fd: readEnd, readable: true, writable: false });
    let size = 0;
    this.#socket.on('data', (chunk: Buffer) => {
      if (size < limit) this.#chunks.push(chunk.subarray(0, limit - size));
      size += chunk.length;
    });
    this.#socket.on('error', () => undefined);
    this.#ended = new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  /** The end for the child; ours must go, or the pipe never ends. */
  closeWriteEnd(): void {
    if (this.#writeEndOpen) close(this.writeEnd);
    this.#writeEndOpen = false;
  }

  /** What has come, once the writers are gone or shortly after. */
  async rest(): Promise<Buffer> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, drainMs);
    await Promise.race([this.#ended, late]);
    clearTimeout(timer);
    return Buffer.concat(this.#chunks);
  }

  [Symbol.dispose](): void {
    this.closeWriteEnd();
    this.#socket.destroy();
  }
}
