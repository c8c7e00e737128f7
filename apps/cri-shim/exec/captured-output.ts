import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { mkfifo } from '#common/native/index.ts';

/** Bytes that several streams may hold together. */
export class Budget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Takes up to `bytes`; answers how many it got. */
  take(bytes: number): number {
    const taken = Math.min(bytes, this.#left);
    this.#left -= taken;
    return taken;
  }
}

/**
 * Every read lands here, and is copied at once: a buffer of its own for each command, mostly for nothing, would keep the
 * collector busy.
 */
const incoming = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * Reads one FIFO of a command into memory, from before the command starts. What exceeds the budget is read and
 * dropped, so that the command never blocks.
 */
export class CapturedOutput {
  readonly path: string;
  /** Resolves at the end of the FIFO. */
  readonly ended: Promise<void>;
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  readonly #budget: Budget;
  /** Keeps the FIFO from ending before the command has it. */
  #holder: number | undefined;
  #dropped = 0;

  /** Makes the FIFO. */
  constructor(path: string, budget: Budget) {
    mkfifo(path, 0o600);
    this.path = path;
    this.#budget = budget;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.#holder = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    this.#socket = new Socket({
      fd,
      readable: true,
      writable: false,
      onread: {
        buffer: incoming,
        callback: (length) => {
          this.#add(incoming.subarray(0, length));
          return true;
        },
      },
    });
    const ended = Promise.withResolvers<void>();
    this.#socket.on('close', () => ended.resolve());
    // An error closes the socket, too: what was read until then is the output.
    this.#socket.on('error', () => undefined);
    this.ended = ended.promise;
  }

  /** The command holds the FIFO now, or never will. */
  release(): void {
    const holder = this.#holder;
    this.#holder = undefined;
    if (holder !== undefined) closeSync(holder);
  }

  /** What was read, with a last line about what was dropped. */
  bytes(): Buffer {
    const note = this.#dropped === 0 ? '' : `\n[output truncated: ${this.#dropped} more bytes]\n`;
    return Buffer.concat([...this.#chunks, Buffer.from(note)]);
  }

  /** Stops reading. */
  async close(): Promise<void> {
    this.release();
    this.#socket.destroy();
    await this.ended;
  }

  #add(chunk: Buffer): void {
    const taken = this.#budget.take(chunk.length);
    if (taken > 0) this.#chunks.push(Buffer.from(chunk.subarray(0, taken)));
    this.#dropped += chunk.length - taken;
  }
}
