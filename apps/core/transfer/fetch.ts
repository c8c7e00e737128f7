import { BerthError, isCode } from '#common/errors.ts';
import type { ContentStore, ContentWriter } from '../content/store.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import { transportError } from '../registry/http.ts';
import type { RegistryClient } from '../registry/registry-client.ts';
import { DEFAULT_RETRY, retry } from '../registry/retry.ts';
import { refKey } from './progress.ts';

export interface FetchRequest {
  readonly ns: string;
  readonly lease: string;
  readonly client: RegistryClient;
  readonly descriptor: Descriptor;
  readonly signal: AbortSignal;
  readonly onProgress?: (offset: number) => void;
}

/** Brings blobs from a registry into the content store. */
export class BlobFetcher {
  readonly #content: ContentStore;
  readonly #leases: LeaseStore;

  constructor(content: ContentStore, leases: LeaseStore) {
    this.#content = content;
    this.#leases = leases;
  }

  /** Whether the blob is in the store; then it is in the lease. */
  present(ns: string, digest: string, lease: string): boolean {
    try {
      this.#content.info(ns, digest);
    } catch (error) {
      if (isCode(error, 'not_found')) return false;
      throw error;
    }
    this.#leases.addResource(ns, lease, { type: 'content', id: digest });
    return true;
  }

  /**
   * Fetches a blob, going on where an earlier attempt, or an earlier pull, was broken off. Of several at the same time one
   * downloads and the others wait for it. Answers whether anything was fetched.
   * @throws data_loss when the registry's bytes aren't what the digest says; what {@link RegistryClient.blob} throws.
   */
  async fetch(request: FetchRequest): Promise<'fetched' | 'exists'> {
    const { ns, descriptor, lease, signal } = request;
    if (this.present(ns, descriptor.digest, lease)) return 'exists';
    let damaged = 0;
    try {
      await this.#untilWhole(request, () => ++damaged === 1);
      return 'fetched';
    } catch (error) {
      if (isCode(error, 'already_exists') && this.present(ns, descriptor.digest, lease)) return 'exists';
      throw signal.aborted ? BerthError.from(signal.reason) : error;
    }
  }

  /** An attempt that brought bytes doesn't count: only standing still uses attempts up. */
  async #untilWhole(request: FetchRequest, mayStartOver: () => boolean): Promise<void> {
    const { descriptor, signal } = request;
    let failures = -1;
    for (;;) {
      const outcome = await retry(DEFAULT_RETRY, signal, () => this.#attempt(request, ++failures));
      if (outcome === 'whole') return;
      if (outcome === 'damaged' && !mayStartOver()) {
        const message = `digest mismatch: ${request.client.reference.domain} sends other bytes for ${descriptor.digest}`;
        throw new BerthError('data_loss', message);
      }
    }
  }

  async #attempt(request: FetchRequest, failures: number): Promise<'whole' | 'progress' | 'damaged'> {
    const { ns, descriptor, lease, signal } = request;
    const { digest: expected, size } = descriptor;
    const ref = refKey(descriptor);
    // The ref stays without a lease, so that a failed pull leaves what it has to the next one for a day.
    await using writer = await this.#content.writer(ns, { ref, total: size, expected, signal });
    if (writer.offset > size) await writer.truncate(0);
    if (writer.offset < size) {
      const before = writer.offset;
      const failure = await this.#download(request, writer, failures);
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
    return 'whole';
  }

  /** Writes what the registry sends; answers why it stopped before the end, if it did. */
  async #download(request: FetchRequest, writer: ContentWriter, failures: number): Promise<BerthError | undefined> {
    const { client, descriptor, signal, onProgress } = request;
    const stream = await client.blob(descriptor, writer.offset, signal, failures);
    try {
      if (stream.offset !== writer.offset) await writer.truncate(stream.offset);
      for await (const piece of receivedFrom(client, stream.data)) {
        if (writer.offset + piece.length > descriptor.size) {
          const message = `${client.reference.domain} sends more than the ${descriptor.size} bytes of ${descriptor.digest}`;
          await writer.truncate(0);
          throw new BerthError('data_loss', message);
        }
        await writer.write(piece);
        onProgress?.(writer.offset);
      }
    } catch (error) {
      if (signal.aborted) throw BerthError.from(signal.reason);
      if (isCode(error, 'unavailable')) return error;
      throw error;
    } finally {
      stream.close();
    }
    if (writer.offset === descriptor.size) return undefined;
    const got = `${writer.offset} of ${descriptor.size} bytes`;
    return new BerthError('unavailable', `${client.reference.domain} broke off after ${got} of ${descriptor.digest}`);
  }
}

/** The bytes of a body; a connection that breaks is told from a disk that is full. */
async function* receivedFrom(client: RegistryClient, data: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const iterator = data[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await iterator.next().catch((error: unknown) => {
        throw transportError(new URL(`https://${client.reference.domain}`), error);
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}
