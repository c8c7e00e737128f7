import { BerthError, isCode } from '#common/errors.ts';
import type { BlobRange } from '../registry/registry-client.ts';
import { type RetryPolicy, retry } from '../registry/retry.ts';
import type { Limiter } from './limiter.ts';

/** Bytes of one request. */
const PART = 2 * 1024 * 1024;
/** Of one layer, on their way or waiting for what comes before them: they are lost when the daemon is killed. */
const PARTS = 3;
/** A smaller blob, or rest of one, comes in one stream. Less than this is fetched twice after a kill. */
export const CHUNK = 8 * 1024 * 1024;

export interface RangedSource {
  /** Reads a range, and not a byte more; rejects with unavailable when another attempt may help. */
  readonly read: (range: Required<BlobRange>) => AsyncIterable<Buffer>;
  readonly size: number;
  /** Of all layers together. */
  readonly connections: Limiter;
  readonly retry: RetryPolicy;
  readonly signal: AbortSignal;
}

/** The first range of a blob that is fetched in parts. */
export function firstPart(offset: number, size: number): Required<BlobRange> {
  return { offset, end: Math.min(size, offset + PART) };
}

/**
 * The bytes of a blob from `offset` on, fetched over several connections and handed out in their order, as many as have
 * come; a piece is good until the next one is asked for. Less than {@link CHUNK} is ahead of what was handed out, and a
 * part that breaks off goes on by itself.
 */
export async function* rangedBlob(source: RangedSource, offset: number): AsyncGenerator<Buffer, void, void> {
  const { size, connections, signal } = source;
  const over = new AbortController();
  const running = { ...source, signal: AbortSignal.any([signal, over.signal]) };
  const parts: Part[] = [];
  const blocks: Buffer[] = [];
  let next = offset;
  try {
    for (;;) {
      while (parts.length < PARTS && next < size) {
        const part = new Part(firstPart(next, size), blocks.pop() ?? Buffer.allocUnsafeSlow(PART));
        next = part.range.end;
        parts.push(part);
        // The places are given away in order: whoever has one is the first of its layer, or waits for one that has.
        void connections.run(() => part.run(running));
      }
      const part = parts[0];
      if (part === undefined) return;
      yield* part.bytes();
      parts.shift();
      blocks.push(part.block);
    }
  } finally {
    over.abort(new BerthError('canceled', 'the rest of the blob is not needed'));
    for (const part of parts) part.release();
  }
}

/**
 * One range on its way. What comes is copied into a block that serves one part after another: kept as it came, it would
 * live long enough for the garbage collector to take it for old.
 */
class Part {
  readonly range: Required<BlobRange>;
  readonly block: Buffer;
  #received = 0;
  #outcome: { readonly error?: unknown } | undefined;
  #stirred = Promise.withResolvers<void>();
  readonly #taken = Promise.withResolvers<void>();

  constructor(range: Required<BlobRange>, block: Buffer) {
    this.range = range;
    this.block = block;
  }

  /** Fetches the range. It keeps its connection's place until its bytes were taken: this bounds the memory of all. */
  async run(source: RangedSource): Promise<void> {
    try {
      const length = this.range.end - this.range.offset;
      while (this.#received < length) await retry(source.retry, source.signal, () => this.#attempt(source));
      this.#outcome = {};
    } catch (error) {
      this.#outcome = { error };
    }
    this.#stirred.resolve();
    await this.#taken.promise;
  }

  async *bytes(): AsyncGenerator<Buffer, void, void> {
    for (let taken = 0; ; ) {
      const received = this.#received;
      if (taken < received) {
        yield this.block.subarray(taken, received);
        taken = received;
      } else if (this.#outcome === undefined) await this.#next();
      else if ('error' in this.#outcome) throw this.#outcome.error;
      else break;
    }
    this.release();
  }

  release(): void {
    this.#taken.resolve();
  }

  /** An attempt that brought bytes doesn't count: only standing still uses attempts up. */
  async #attempt({ read }: RangedSource): Promise<void> {
    const before = this.#received;
    const { offset, end } = this.range;
    try {
      for await (const piece of read({ offset: offset + before, end })) {
        if (this.#received + piece.length > end - offset) {
          throw new BerthError('data_loss', `the server sends more than the ${end - offset} bytes it was asked for`);
        }
        this.#received += piece.copy(this.block, this.#received);
        this.#stirred.resolve();
      }
    } catch (error) {
      if (this.#received === before || !isCode(error, 'unavailable')) throw error;
    }
  }

  async #next(): Promise<void> {
    await this.#stirred.promise;
    this.#stirred = Promise.withResolvers();
  }
}
