import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { BerthError, isCode } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import type { LeaseStore } from '../leases/store.ts';
import { MAX_DOCUMENT } from '../registry/document.ts';
import { components, displayPath } from '../unpack/byte-path.ts';
import { decompress, detectCompression } from '../unpack/decompress.ts';
import type { TarEntry } from '../unpack/tar-header.ts';
import { TarReader } from '../unpack/tar-reader.ts';
import { isPresent } from './present-blob.ts';

/** A file of an archive that is in the content store now. */
export interface IngestedBlob {
  readonly digest: string;
  readonly size: number;
}

/** An archive's files by their cleaned names; links stand for what they point to. */
export interface IngestedArchive {
  readonly blobs: ReadonlyMap<string, IngestedBlob>;
  /** Text of the files that say what the archive holds: `oci-layout`, `index.json`, `manifest.json`. */
  readonly documents: ReadonlyMap<string, string>;
}

export interface IngestRequest {
  readonly ns: string;
  readonly lease: string;
  readonly signal: AbortSignal;
}

const DOCUMENTS = new Set(['oci-layout', 'index.json', 'manifest.json']);
/** Parts of Docker's first format that its later ones repeat: nobody reads them. */
const LEFT_OUT = /(^|\/)(VERSION|json|repositories)$/;
const ZEROS = Buffer.alloc(256 * 1024);
const SHORTEST_MAGIC = 6;

/**
 * Reads an image archive, a tar that may be compressed, into the content store. Files of an OCI layout are checked against
 * the digests they are named by; what the store has already is not written again.
 * @throws invalid_argument for a malformed archive; data_loss when a file isn't what its name says.
 */
export async function ingestArchive(
  parts: { readonly content: ContentStore; readonly leases: LeaseStore },
  source: AsyncIterable<Buffer>,
  request: IngestRequest,
): Promise<IngestedArchive> {
  const ingest = new ArchiveIngest(parts, request);
  const reader = new TarReader();
  try {
    for await (const chunk of uncompressed(source)) {
      if (request.signal.aborted) throw BerthError.from(request.signal.reason);
      for (const event of reader.push(chunk)) {
        if (event.type === 'entry') await ingest.begin(event.entry);
        else if (event.type === 'data') await ingest.data(event.data);
        else if (event.type === 'hole') await ingest.hole(event.length);
        else await ingest.end();
      }
    }
    reader.close();
  } finally {
    await ingest.abandon();
  }
  return ingest.result();
}

class ArchiveIngest {
  readonly #parts: { readonly content: ContentStore; readonly leases: LeaseStore };
  readonly #request: IngestRequest;
  readonly #prefix = `import-${randomBytes(6).toString('hex')}`;
  readonly #blobs = new Map<string, IngestedBlob>();
  readonly #documents = new Map<string, string>();
  readonly #links = new Map<string, string>();
  #file: OpenFile | undefined;

  constructor(parts: { readonly content: ContentStore; readonly leases: LeaseStore }, request: IngestRequest) {
    this.#parts = parts;
    this.#request = request;
  }

  async begin(entry: TarEntry): Promise<void> {
    const path = components(entry.name);
    const name = path.join('/');
    if (entry.kind === 'symlink')
      this.#links.set(name, components([...path.slice(0, -1), entry.linkName].join('/')).join('/'));
    else if (entry.kind === 'hardlink') this.#links.set(name, components(entry.linkName).join('/'));
    if (entry.kind !== 'file' || LEFT_OUT.test(name)) return;
    if (DOCUMENTS.has(name) && entry.size > MAX_DOCUMENT) {
      throw new BerthError(
        'resource_exhausted',
        `${name} of the archive has ${entry.size} bytes, the limit is ${MAX_DOCUMENT}`,
      );
    }
    this.#file = await this.#open(name, entry.size);
  }

  async data(data: Buffer): Promise<void> {
    if (this.#file === undefined) return;
    await this.#file.writer?.write(data);
    if (DOCUMENTS.has(this.#file.name)) this.#file.pieces.push(Buffer.from(data));
  }

  async hole(length: number): Promise<void> {
    for (let left = length; left > 0 && this.#file !== undefined; left -= ZEROS.length) {
      if (this.#request.signal.aborted) throw BerthError.from(this.#request.signal.reason);
      await this.data(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
    }
  }

  async end(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const { name, size, expected, writer } = file;
    if (file.pieces.length > 0) this.#documents.set(name, Buffer.concat(file.pieces).toString('utf8'));
    const digest = writer === undefined ? (expected as string) : writer.digest();
    if (expected !== undefined && digest !== expected) {
      throw new BerthError('data_loss', `archive entry "${displayPath(name)}" is damaged: its digest is ${digest}`);
    }
    try {
      await writer?.commit({ size, expected: digest, lease: this.#request.lease });
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
    }
    this.#file = undefined;
    this.#blobs.set(name, { digest, size });
  }

  /** Drops a file that was not finished. */
  async abandon(): Promise<void> {
    const writer = this.#file?.writer;
    if (writer === undefined) return;
    await writer.close();
    await this.#parts.content.abort(this.#request.ns, writer.ref).catch(() => undefined);
  }

  result(): IngestedArchive {
    for (const name of this.#links.keys()) {
      const blob = this.#linked(name);
      if (blob !== undefined) this.#blobs.set(name, blob);
    }
    return { blobs: this.#blobs, documents: this.#documents };
  }

  #linked(name: string): IngestedBlob | undefined {
    let at = name;
    for (let hops = 0; hops < 10; hops++) {
      const target = this.#links.get(at);
      if (target === undefined) return this.#blobs.get(at);
      at = target;
    }
    return undefined;
  }

  async #open(name: string, size: number): Promise<OpenFile> {
    const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1];
    const expected = hex === undefined ? undefined : `sha256:${hex}`;
    const { ns, lease, signal } = this.#request;
    const { content } = this.#parts;
    const present = expected !== undefined && isPresent(this.#parts, { ns, digest: expected, lease });
    const options = { ref: `${this.#prefix}-${displayPath(name)}`, total: size, lease, signal };
    const writer = present ? undefined : await content.writer(ns, options);
    return { name, size, expected, writer, pieces: [] };
  }
}

interface OpenFile {
  readonly name: string;
  readonly size: number;
  /** The digest in its name, if it has one. */
  readonly expected: string | undefined;
  /** None when the store has the file already. */
  readonly writer: Awaited<ReturnType<ContentStore['writer']>> | undefined;
  readonly pieces: Buffer[];
}

async function* uncompressed(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let start: Buffer = Buffer.alloc(0);
    let next = await iterator.next();
    while (!next.done && start.length < SHORTEST_MAGIC) {
      start = Buffer.concat([start, next.value]);
      if (start.length < SHORTEST_MAGIC) next = await iterator.next();
    }
    const rest = (async function* () {
      yield start;
      for (;;) {
        const next = await iterator.next();
        if (next.done) return;
        yield next.value;
      }
    })();
    const compression = detectCompression(start);
    yield* compression === 'none' ? rest : decompress(Readable.from(rest, { objectMode: false }), compression);
  } finally {
    await iterator.return?.();
  }
}
