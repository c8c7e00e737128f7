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
 * One blob on its way from a registry: a small one in one stream, a large one in ranges side by side. Hosts that failed
 * come after those that didn't.
 */
export class BlobDownload {
  readonly #parts: DownloadParts;
  readonly #client: RegistryClient;
  readonly #descriptor: Descriptor;
  readonly #signal: AbortSignal;
  /** How often each source failed. */
  readonly #failures = new Map<string, number>();
  /** Where the bytes came from that are there now. */
  readonly #sources = new Set<string>();

  constructor(parts: DownloadParts, client: RegistryClient, descriptor: Descriptor, signal: AbortSignal) {
    this.#parts = parts;
    this.#client = client;
    this.#descriptor = descriptor;
    this.#signal = signal;
  }

  /** The bytes were wrong: whoever sent some of them may have been it. */
  damaged(): void {
    this.#parts.metrics.count('damagedBlobs');
    for (const source of this.#sources) this.#blame(source);
    this.#sources.clear();
  }

  /**
   * The blob from `offset` on, or from 0 when the host can't begin elsewhere. The bytes are not verified here; reading them
   * rejects with unavailable when another attempt may bring more.
   */
  async open(offset: number): Promise<{ readonly offset: number; readonly data: AsyncIterable<Buffer> }> {
    const { size } = this.#descriptor;
    const first = firstPart(offset, size);
    const stream = await this.#ask(size - offset < CHUNK ? { offset } : first);
    if (!stream.partial)
      return { offset: stream.offset, data: this.#read(stream, { offset: stream.offset, end: size }) };
    let opened: BlobStream | undefined = stream;
    const read = (range: Required<BlobRange>): AsyncIterable<Buffer> => {
      const own = opened;
      opened = undefined;
      return this.#range(range, own);
    };
    const source = { read, size, connections: this.#parts.connections, retry: DEFAULT_RETRY, signal: this.#signal };
    return { offset, data: closing(rangedBlob(source, offset), () => opened?.close()) };
  }

  async *#range(range: Required<BlobRange>, opened: BlobStream | undefined): AsyncGenerator<Buffer, void, void> {
    const stream = opened ?? (await this.#ask(range));
    if (stream.partial) {
      yield* this.#read(stream, range);
      return;
    }
    stream.close();
    this.#blame(stream.source);
    throw new BerthError('unavailable', `${stream.host} has stopped to answer with ranges`);
  }

  #ask(range: BlobRange): Promise<BlobStream> {
    return this.#client.blob(this.#descriptor, range, this.#signal, this.#failures);
  }

  #blame(source: string): void {
    this.#failures.set(source, (this.#failures.get(source) ?? 0) + 1);
    this.#parts.metrics.count('failures');
  }

  async *#read(stream: BlobStream, { offset, end }: Required<BlobRange>): AsyncGenerator<Buffer, void, void> {
    const { host, source, data } = stream;
    const { digest, size } = this.#descriptor;
    this.#sources.add(source);
    let at = offset;
    try {
      for await (const piece of this.#steadily(stream, data)) {
        at += piece.length;
        if (at > end && end < size) throw new BerthError('unavailable', `${host} sends more than it was asked for`);
        yield piece;
      }
      if (at < end) throw new BerthError('unavailable', `${host} broke off after ${at} of ${size} bytes of ${digest}`);
    } catch (error) {
      if (!this.#signal.aborted) this.#blame(source);
      throw error;
    } finally {
      stream.close();
    }
  }

  /** The bytes as they come, held to the bandwidth; a server that has stopped sending is noticed. */
  async *#steadily(stream: BlobStream, data: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
    const { throttle, metrics, stallMs } = this.#parts;
    const iterator = data[Symbol.asyncIterator]();
    using watch = new StallWatch(stream.host, stallMs, (reason) => {
      metrics.count('stalls');
      stream.close(reason);
    });
    for (;;) {
      watch.wait();
      const next = await iterator.next().catch((error: unknown) => {
        throw transportError(new URL(`https://${stream.host}`), error);
      });
      watch.got(next.done ? 0 : next.value.length);
      if (next.done) return;
      metrics.count('fetchedBytes', next.value.length);
      await throttle.take(next.value.length, this.#signal);
      yield next.value;
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
