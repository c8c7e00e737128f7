import { BerthError, isCode } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { ContentStore, ContentWriter } from '../content/store.ts';
import { ShortLivedBuffers } from '../diff/short-lived-buffers.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import type { RegistryClient } from '../registry/registry-client.ts';
import { DEFAULT_RETRY, retry } from '../registry/retry.ts';
import { BlobDownload, type DownloadParts } from './blob-download.ts';
import { isPresent } from './present-blob.ts';
import { refKey } from './progress.ts';

type OnProgress = (offset: number) => void;

export interface FetchRequest {
  readonly ns: string;
  readonly lease: string;
  readonly client: RegistryClient;
  readonly descriptor: Descriptor;
  readonly signal: AbortSignal;
  readonly onProgress?: OnProgress;
}

export interface FetcherParts extends DownloadParts {
  readonly content: ContentStore;
  readonly leases: LeaseStore;
}

/** Brings blobs from registries into the content store; one for the whole daemon. */
export class BlobFetcher {
  readonly #parts: FetcherParts;
  readonly #queue = new KeyedQueue();
  /** What counts here once was in two buffers, the socket's and the HTTP parser's. */
  readonly #pieces = new ShortLivedBuffers(2 * 1024 * 1024);
  /** Those who want to know how a blob gets on, also while somebody else downloads it. */
  readonly #watchers = new Map<string, Set<OnProgress>>();

  constructor(parts: FetcherParts) {
    this.#parts = parts;
  }

  /**
   * Fetches a blob, going on where an earlier attempt, or an earlier pull, was broken off. Of all that want it at the same
   * time, in whatever namespace, one downloads and the others wait for it; when that one leaves, the next goes on with
   * what has come. Answers whether anything was fetched for this caller.
   * @throws data_loss when the registry's bytes aren't what the digest says; what {@link RegistryClient.blob} throws.
   */
  async fetch(request: FetchRequest): Promise<'fetched' | 'exists'> {
    const { descriptor, signal, onProgress } = request;
    using _ = this.#watch(descriptor.digest, onProgress);
    const outcome = await this.#queue.run(descriptor.digest, () => this.#bring(request), { signal });
    this.#parts.metrics.count(outcome === 'fetched' ? 'fetchedBlobs' : 'sharedBlobs');
    return outcome;
  }

  async #bring(request: FetchRequest): Promise<'fetched' | 'exists'> {
    const { ns, descriptor, lease, signal } = request;
    const blob = { ns, digest: descriptor.digest, lease };
    if (isPresent(this.#parts, blob)) return 'exists';
    try {
      return await this.#untilWhole(request);
    } catch (error) {
      if (isCode(error, 'already_exists') && isPresent(this.#parts, blob)) return 'exists';
      throw signal.aborted ? BerthError.from(signal.reason) : error;
    }
  }

  /** An attempt that brought bytes doesn't count: only standing still uses attempts up. */
  async #untilWhole(request: FetchRequest): Promise<'fetched' | 'exists'> {
    const { client, descriptor, signal } = request;
    const download = new BlobDownload(this.#parts, client, descriptor, signal);
    for (let damaged = 0; ; ) {
      const outcome = await retry(DEFAULT_RETRY, signal, () => this.#attempt(request, download));
      if (outcome === 'fetched' || outcome === 'exists') return outcome;
      if (outcome === 'progress') continue;
      download.damaged();
      if (++damaged === 1) continue;
      const message = `digest mismatch: ${client.reference.domain} sends other bytes for ${descriptor.digest}`;
      throw new BerthError('data_loss', message);
    }
  }

  async #attempt(
    request: FetchRequest,
    download: BlobDownload,
  ): Promise<'fetched' | 'exists' | 'progress' | 'damaged'> {
    const { ns, descriptor, lease, signal } = request;
    const { digest: expected, size } = descriptor;
    const ref = refKey(descriptor);
    // The ref stays without a lease, so that a failed pull leaves what it has to the next one for a day.
    await using writer = await this.#parts.content.writer(ns, { ref, total: size, expected, signal });
    if (writer.offset > size) await writer.truncate(0);
    const before = writer.offset;
    if (before < size) {
      this.#parts.metrics.count('resumedBytes', before);
      const failure = await this.#receive(request, download, writer);
      if (failure !== undefined) {
        if (writer.offset > before) return 'progress';
        throw failure;
      }
    }
    if (writer.digest() !== expected) {
      await writer.truncate(0);
      return 'damaged';
    }
    await writer.commit({ size, expected, lease });
    return before < size || size === 0 ? 'fetched' : 'exists';
  }

  /** Writes what the registry sends; answers why it stopped before the end, if it did. */
  async #receive(
    { client, descriptor, signal }: FetchRequest,
    download: BlobDownload,
    writer: ContentWriter,
  ): Promise<BerthError | undefined> {
    const { digest, size } = descriptor;
    const { offset, data } = await download.open(writer.offset);
    if (offset !== writer.offset) await writer.truncate(offset);
    try {
      for await (const piece of data) {
        if (writer.offset + piece.length > size) {
          await writer.truncate(0);
          throw new BerthError(
            'data_loss',
            `${client.reference.domain} sends more than the ${size} bytes of ${digest}`,
          );
        }
        await writer.write(piece);
        this.#tell(digest, writer.offset);
        this.#pieces.used(piece.length);
      }
    } catch (error) {
      if (signal.aborted) throw BerthError.from(signal.reason);
      if (isCode(error, 'unavailable')) return error;
      throw error;
    }
    return undefined;
  }

  #watch(digest: string, onProgress: OnProgress | undefined): Disposable {
    if (onProgress === undefined) return { [Symbol.dispose]: () => {} };
    const watchers = this.#watchers.get(digest) ?? new Set();
    this.#watchers.set(digest, watchers.add(onProgress));
    return {
      [Symbol.dispose]: () => {
        watchers.delete(onProgress);
        if (watchers.size === 0 && this.#watchers.get(digest) === watchers) this.#watchers.delete(digest);
      },
    };
  }

  #tell(digest: string, offset: number): void {
    for (const onProgress of this.#watchers.get(digest) ?? []) onProgress(offset);
  }
}
