import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BerthError, isCode } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';
import { type Descriptor, mediaTypes } from '#common/oci/image.ts';
import type { ContentStore, ContentWriter } from '../content/store.ts';
import type { Mount } from '../snapshots/snapshotter.ts';
import { Limiter } from '../transfer/limiter.ts';
import type { DiffJob, DiffMessage, DiffSource, LayerCompression } from './diff-protocol.ts';
import { readOnly, upperDirectory } from './diff-source.ts';
import { LayerProcess } from './layer-process.ts';

export interface CompareRequest {
  readonly ns: string;
  /** The older tree; none is an empty one. */
  readonly left: readonly Mount[];
  readonly right: readonly Mount[];
  /** Empty: an OCI layer with gzip. */
  readonly mediaType: string;
  /** Name of the write in the content store; empty: one of its own. */
  readonly ref: string;
  readonly labels: Labels;
  /** The layer shows no later time than this, in nanoseconds since the epoch. */
  readonly notAfter?: bigint | undefined;
  readonly lease?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const PARALLEL_PROCESSES = 4;
const PROGRAM = fileURLToPath(new URL('./diff-child.ts', import.meta.url));

const COMPRESSIONS: Readonly<Record<string, LayerCompression>> = {
  [mediaTypes.ociLayer]: 'none',
  [mediaTypes.ociLayerGzip]: 'gzip',
  [mediaTypes.ociLayerZstd]: 'zstd',
  [mediaTypes.dockerLayer]: 'none',
  [mediaTypes.dockerLayerGzip]: 'gzip',
  [mediaTypes.dockerLayerZstd]: 'zstd',
};

type DiffResult = Exclude<DiffMessage, { type: 'error' }>;

/** Makes layers of the differences between mounts, each in a process of its own that has them as its root. */
export class LayerComparer {
  readonly #content: ContentStore;
  readonly #cacheDir: string;
  /** A process takes some 50 MB, and one keeps a core busy. */
  readonly #processes = new Limiter(PARALLEL_PROCESSES);

  /** @param cacheDir private directory for compiled code and for the places that trees are mounted on. */
  constructor(content: ContentStore, cacheDir: string) {
    this.#content = content;
    this.#cacheDir = cacheDir;
  }

  /**
   * Writes the layer that turns `left` into `right` into the content store. Nothing is left there when it fails.
   * @throws unimplemented for a media type or a mount that isn't supported; unavailable while another writes to the ref;
   *   aborted when a file changed under the walk or the process was killed; canceled.
   */
  async compare(request: CompareRequest): Promise<Descriptor> {
    const { ns, left, right, mediaType = '' } = request;
    const type = mediaType === '' ? mediaTypes.ociLayerGzip : mediaType;
    const compression = COMPRESSIONS[type];
    if (compression === undefined) throw new BerthError('unimplemented', `unsupported diff media type: ${type}`);
    const upper = await upperDirectory(left, right);
    const ref = request.ref === '' ? `diff-${Date.now()}-${randomBytes(4).toString('hex')}` : request.ref;
    const writer = await this.#content.writer(ns, { ref, lease: request.lease });
    try {
      if (writer.offset > 0) await writer.truncate(0);
      const diffId = await this.#make(request, compression, upper, writer);
      const digest = await this.#commit(request, writer, compression === 'none' ? undefined : diffId);
      return { mediaType: type, digest, size: this.#content.info(ns, digest).size };
    } catch (error) {
      await writer.close();
      await this.#content.abort(ns, ref).catch((failure: unknown) => {
        if (!isCode(failure, 'not_found')) throw failure;
      });
      if (request.signal?.aborted) throw BerthError.from(request.signal.reason, 'the layer was not made');
      throw error;
    }
  }

  /** Writes the layer's bytes and answers the digest of the uncompressed ones. */
  async #make(
    request: CompareRequest,
    compression: LayerCompression,
    upper: Awaited<ReturnType<typeof upperDirectory>>,
    writer: ContentWriter,
  ): Promise<string> {
    const { signal, notAfter } = request;
    const job = { compression, ...(notAfter === undefined ? {} : { notAfter: String(notAfter) }) };
    if (upper !== undefined) {
      const source: DiffSource = { kind: 'upper', root: upper.root };
      const result = await this.#run({ source, ...job }, upper.lowers, writer, signal);
      if (result.type === 'done') return result.diffId;
      await writer.truncate(0);
    }
    const source = await this.#trees(request);
    const result = await this.#run({ source, ...job }, [], writer, signal);
    if (result.type === 'done') return result.diffId;
    throw new BerthError('internal', `the layer's process can't read ${result.path}`);
  }

  async #trees({ left, right }: CompareRequest): Promise<DiffSource> {
    const workspace = join(this.#cacheDir, 'diff');
    for (const side of ['lower', 'upper']) await mkdir(join(workspace, side), { recursive: true, mode: 0o700 });
    return { kind: 'trees', lower: readOnly(left), upper: readOnly(right), workspace };
  }

  #run(
    job: DiffJob,
    lowers: readonly string[],
    writer: ContentWriter,
    signal: AbortSignal | undefined,
  ): Promise<DiffResult> {
    return this.#processes.run(() => this.#runNow(job, lowers, writer, signal));
  }

  async #runNow(
    job: DiffJob,
    lowers: readonly string[],
    writer: ContentWriter,
    signal: AbortSignal | undefined,
  ): Promise<DiffResult> {
    signal?.throwIfAborted();
    const child = new LayerProcess(PROGRAM, this.#cacheDir);
    const kill = (): void => child.kill();
    signal?.addEventListener('abort', kill, { once: true });
    try {
      const [result] = await Promise.all([
        child.run<DiffMessage>(job, { lowers: () => lowers }),
        copy(child.data, writer).catch((error: unknown) => {
          kill();
          throw error;
        }),
      ]);
      if (result.type === 'error') throw new BerthError(result.code, result.message);
      return result;
    } finally {
      signal?.removeEventListener('abort', kill);
      await child.end();
    }
  }

  /** A layer that is there already is as good. */
  async #commit({ ns, labels, lease }: CompareRequest, writer: ContentWriter, diffId?: string): Promise<string> {
    const digest = writer.digest();
    const own: Labels = diffId === undefined ? {} : { [labelKeys.uncompressed]: diffId };
    try {
      await writer.commit({ expected: digest, labels: { ...labels, ...own }, lease });
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
      if (this.#content.info(ns, digest).labels[labelKeys.uncompressed] === undefined) {
        this.#content.update(ns, digest, own, [`labels.${labelKeys.uncompressed}`]);
      }
    }
    return digest;
  }
}

async function copy(data: AsyncIterable<Buffer>, writer: ContentWriter): Promise<void> {
  for await (const piece of data) await writer.write(piece);
}
