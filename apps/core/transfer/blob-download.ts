import { BerthError } from '#common/errors.ts';
import type { Descriptor } from '../registry/document.ts';
import { transportError } from '../registry/http.ts';
import type { BlobRange, BlobStream, RegistryClient } from '../registry/registry-client.ts';
import { DEFAULT_RETRY } from '../registry/retry.ts';
import type { Limiter } from './limiter.ts';
import { CHUNK, firstPart, rangedBlob } from './ranged-blob.ts';
import { StallWatch } from './stall-watch.ts';
import type { Throttle } from './throttle.ts';
import type { TransferMetrics } from './transfer-metrics.ts';

export interface DownloadParts {
  /** Places for ranges on their way, of all downloads together. */
  readonly connections: Limiter;
  readonly throttle: Throttle;
  readonly metrics: TransferMetrics;
  /** Milliseconds of waiting for next to no bytes after which a server counts as stalled. */
  readonly stallMs: number;
}

/**
 * One blob on its way from a registry: a small one in one stream, a large one in ranges side by side. After each failure
 * another host comes first.
 */
export class BlobDownload {
  readonly #parts: DownloadParts;
  readonly #client: RegistryClient;
  readonly #descriptor: Descriptor;
  readonly #signal: AbortSignal;
  #failures = 0;

  constructor(parts: DownloadParts, client: RegistryClient, descriptor: Descriptor, signal: AbortSignal) {
    this.#parts = parts;
    this.#client = client;
    this.#descriptor = descriptor;
    this.#signal = signal;
  }

  /** The host's bytes were wrong, or it broke off. */
  failed(): void {
    this.#failures++;
    this.#parts.metrics.count('failures');
  }

  /** The blob from `offset` on, or from 0 when the host can't begin elsewhere. The bytes are not verified here. */
  async open(offset: number): Promise<{ readonly offset: number; readonly data: AsyncIterable<Buffer> }> {
    const { size } = this.#descriptor;
    if (size - offset <= CHUNK) {
      const stream = await this.#ask({ offset });
      return { offset: stream.offset, data: this.#read(stream) };
    }
    const range = firstPart(offset, size);
    const stream = await this.#ask(range);
    if (!stream.partial) return { offset: stream.offset, data: this.#read(stream) };
    let opened: BlobStream | undefined = stream;
    const read = (range: Required<BlobRange>): AsyncIterable<Buffer> => {
      const first = opened;
      opened = undefined;
      return this.#range(range, first);
    };
    const source = { read, size, connections: this.#parts.connections, retry: DEFAULT_RETRY, signal: this.#signal };
    return { offset, data: closing(rangedBlob(source, offset), () => opened?.close()) };
  }

  async *#range(range: Required<BlobRange>, opened: BlobStream | undefined): AsyncGenerator<Buffer, void, void> {
    let at = range.offset;
    try {
      const stream = opened ?? (await this.#ask(range));
      try {
        if (!stream.partial) throw new BerthError('unavailable', `${stream.host} has stopped to answer with ranges`);
        for await (const piece of this.#read(stream)) {
          at += piece.length;
          if (at > range.end) throw new BerthError('unavailable', `${stream.host} sends more than it was asked for`);
          yield piece;
        }
        if (at < range.end) throw new BerthError('unavailable', `${stream.host} broke off`);
      } finally {
        stream.close();
      }
    } catch (error) {
      if (!this.#signal.aborted) this.failed();
      throw error;
    }
  }

  #ask(range: BlobRange): Promise<BlobStream> {
    return this.#client.blob(this.#descriptor, range, this.#signal, this.#failures);
  }

  async *#read(stream: BlobStream): AsyncGenerator<Buffer, void, void> {
    const { throttle, metrics, stallMs } = this.#parts;
    const iterator = stream.data[Symbol.asyncIterator]();
    using watch = new StallWatch(stream.host, stallMs, (reason) => {
      metrics.count('stalls');
      stream.close(reason);
    });
    try {
      for (;;) {
        watch.wait();
        const next = await iterator.next().catch((error: unknown) => {
          throw transportError(new URL(`https://${stream.host}`), error);
        });
        if (next.done) return;
        watch.got(next.value.length);
        metrics.count('fetchedBytes', next.value.length);
        await throttle.take(next.value.length, this.#signal);
        yield next.value;
      }
    } finally {
      stream.close();
    }
  }
}

async function* closing(data: AsyncIterable<Buffer>, close: () => void): AsyncGenerator<Buffer, void, void> {
  try {
    yield* data;
  } finally {
    close();
  }
}
