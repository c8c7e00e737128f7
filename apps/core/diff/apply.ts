import { type FileHandle, open } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { BerthError } from '#common/errors.ts';
import type { Mount } from '../snapshots/snapshotter.ts';
import type { ApplyJob, ChildMessage } from '../unpack/apply-protocol.ts';
import { applyTarget, baselessTarget } from '../unpack/mount-target.ts';
import { LayerProcess } from './layer-process.ts';

export interface ApplyRequest {
  /** File that holds the layer, compressed or not. */
  readonly blobPath: string;
  readonly mediaType: string;
  /** Of the active snapshot that the layer becomes. */
  readonly mounts: readonly Mount[];
  /**
   * Of a layer that is applied before those below it are there: resolves with their directories, the nearest first. The
   * snapshot has no parent yet then.
   */
  readonly lowers?: (() => Promise<readonly string[]>) | undefined;
  /** Whether those are still being written. */
  readonly isAhead?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told the bytes of the blob that were read, a few times a second. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** What a layer turned out to be: the digest and length of its uncompressed tar stream. */
export interface AppliedLayer {
  readonly diffId: string;
  readonly size: number;
  /** Whether it describes its own root directory. */
  readonly hasRoot: boolean;
}

const PROGRAM = fileURLToPath(new URL('../unpack/apply-child.ts', import.meta.url));
const MAX_WAIT_MS = 10_000;
/** Processes that wait for layers, at most: as many as an image keeps busy. Each has some 50 MiB. */
const MAX_IDLE = 2;
/** The largest layers that are known take minutes. */
const DEADLINE_MS = 60 * 60_000;

/**
 * Applies layers, each in a process that has the snapshot as its root meanwhile. Starting such a process takes about as
 * long as a small layer does: one that is done waits a while for the next, and {@link warm} can start the first ahead.
 */
export class LayerApplier implements Disposable {
  readonly #cacheDir: string | undefined;
  readonly #deadlineMs: number;
  #idle: LayerProcess[] = [];
  #retirement: NodeJS.Timeout | undefined;

  /**
   * @param cacheDir private directory for compiled code.
   * @param deadlineMs what one layer may take
   */
  constructor(cacheDir?: string, deadlineMs = DEADLINE_MS) {
    this.#cacheDir = cacheDir;
    this.#deadlineMs = deadlineMs;
  }

  /** Starts the process for the next layer now, unless one is waiting already. It doesn't wait for long. */
  warm(): void {
    this.#keep(this.#idle.pop() ?? new LayerProcess(PROGRAM, this.#cacheDir));
  }

  /** Ends the processes that wait for a layer. */
  [Symbol.dispose](): void {
    clearTimeout(this.#retirement);
    for (const idle of this.#idle) idle.kill();
    this.#idle = [];
  }

  /**
   * Writes the layer into the snapshot. On failure, what was written so far is left to whoever removes the snapshot.
   * @throws invalid_argument for a malformed or hostile archive; data_loss for damaged compression; unimplemented for a
   *   media type, compression or mount that isn't supported; resource_exhausted before the file system is full;
   *   deadline_exceeded; aborted when the process was killed; canceled.
   */
  async apply(request: ApplyRequest): Promise<AppliedLayer> {
    checkMediaType(request.mediaType);
    const { root, whiteouts, lowers } =
      request.lowers === undefined ? applyTarget(request.mounts) : baselessTarget(request.mounts);
    await using blob = await openBlob(request.blobPath);
    if (request.signal?.aborted) throw BerthError.from(request.signal.reason, 'the layer was not applied');
    const job: ApplyJob = {
      blob: `/proc/${process.pid}/fd/${blob.fd}`,
      root,
      whiteouts,
      isAhead: request.isAhead === true,
    };
    const child = this.#take();
    using deadline = deadlineOf(this.#deadlineMs);
    const signal = AbortSignal.any([deadline.signal, ...(request.signal === undefined ? [] : [request.signal])]);
    const kill = (): void => child.kill();
    signal.addEventListener('abort', kill, { once: true });
    try {
      const below = { root, lowers: request.lowers ?? (() => lowers) };
      const result = await child.run<ChildMessage>(job, below, ({ bytes }) => request.onProgress?.(bytes));
      if (result.type === 'error') throw new BerthError(result.code, result.message);
      this.#keep(child);
      return { diffId: result.diffId, size: result.size, hasRoot: result.hasRoot };
    } catch (error) {
      await child.end();
      if (signal.aborted) throw BerthError.from(signal.reason, 'the layer was not applied');
      throw BerthError.from(error);
    } finally {
      signal.removeEventListener('abort', kill);
    }
  }

  /** Has it wait for a layer, unless enough do. */
  #keep(child: LayerProcess): void {
    if (this.#idle.length >= MAX_IDLE) {
      child.kill();
      return;
    }
    this.#idle.push(child);
    clearTimeout(this.#retirement);
    this.#retirement = setTimeout(() => this[Symbol.dispose](), MAX_WAIT_MS).unref();
  }

  #take(): LayerProcess {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) if (idle.alive) return idle;
    return new LayerProcess(PROGRAM, this.#cacheDir);
  }
}

function deadlineOf(ms: number): Disposable & { readonly signal: AbortSignal } {
  const late = new AbortController();
  const reason = new BerthError('deadline_exceeded', `it takes longer than ${ms / 1000} s`);
  const timer = setTimeout(() => late.abort(reason), ms);
  return { signal: late.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/** From here on the layer stays readable, even when its blob is deleted. */
async function openBlob(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw BerthError.from(error, `open layer ${path}`);
  }
}

function checkMediaType(mediaType: string): void {
  const layer = /^application\/vnd\.(oci|docker)\.image\.(layer|rootfs)\./.test(mediaType);
  if (!layer || mediaType.endsWith('+encrypted')) {
    throw new BerthError('unimplemented', `layers of media type "${mediaType}" are not supported`);
  }
}
