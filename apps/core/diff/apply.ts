import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { type FileHandle, open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { BerthError, messageOf } from '#common/errors.ts';
import type { Mount } from '../snapshots/snapshotter.ts';
import type { ApplyJob, ChildMessage, LookupReply } from '../unpack/apply-protocol.ts';
import { lookupLower } from '../unpack/lower-lookup.ts';
import { applyTarget } from '../unpack/mount-target.ts';

export interface ApplyRequest {
  /** File that holds the layer, compressed or not. */
  readonly blobPath: string;
  readonly mediaType: string;
  /** Of the active snapshot that the layer becomes. */
  readonly mounts: readonly Mount[];
  readonly signal?: AbortSignal | undefined;
  /** Told the bytes of the blob that were read, a few times a second. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** What a layer turned out to be: the digest and length of its uncompressed tar stream. */
export interface AppliedLayer {
  readonly diffId: string;
  readonly size: number;
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

const PROGRAM = fileURLToPath(new URL('../unpack/apply-child.ts', import.meta.url));
const MAX_STDERR = 4096;
const MAX_WAIT_MS = 10_000;

/**
 * Applies layers, each in a process of its own that has the snapshot as its root. Starting that process takes about as
 * long as a small layer does, so {@link warm} can start the next one ahead.
 */
export class LayerApplier implements Disposable {
  readonly #cacheDir: string | undefined;
  #spare: Child | undefined;
  #retirement: NodeJS.Timeout | undefined;

  /** @param cacheDir private directory for compiled code, which takes two thirds off a child's start. */
  constructor(cacheDir?: string) {
    this.#cacheDir = cacheDir;
  }

  /** Starts the process for the next layer now, unless one is waiting already. It doesn't wait for long. */
  warm(): void {
    this.#spare ??= start(this.#cacheDir);
    clearTimeout(this.#retirement);
    this.#retirement = setTimeout(() => this[Symbol.dispose](), MAX_WAIT_MS).unref();
  }

  /** Ends a process that waits for a layer. */
  [Symbol.dispose](): void {
    clearTimeout(this.#retirement);
    this.#spare?.kill('SIGKILL');
    this.#spare = undefined;
  }

  /**
   * Writes the layer into the snapshot. On failure, what was written so far is left to whoever removes the snapshot.
   * @throws invalid_argument for a malformed or hostile archive; data_loss for damaged compression; unimplemented for a
   *   media type, compression or mount that isn't supported; aborted when the process was killed; canceled.
   */
  async apply(request: ApplyRequest): Promise<AppliedLayer> {
    checkMediaType(request.mediaType);
    const { root, whiteouts, lowers } = applyTarget(request.mounts);
    await using blob = await openBlob(request.blobPath);
    if (request.signal?.aborted) throw BerthError.from(request.signal.reason, 'the layer was not applied');
    const job: ApplyJob = { blob: `/proc/${process.pid}/fd/${blob.fd}`, root, whiteouts };
    const child = this.#take();
    const kill = (): void => void child.kill('SIGKILL');
    request.signal?.addEventListener('abort', kill, { once: true });
    try {
      return await converse(child, job, lowers, request.onProgress);
    } catch (error) {
      if (request.signal?.aborted) throw BerthError.from(request.signal.reason, 'the layer was not applied');
      throw BerthError.from(error);
    } finally {
      request.signal?.removeEventListener('abort', kill);
      kill();
    }
  }

  #take(): Child {
    const spare = this.#spare;
    this.#spare = undefined;
    return spare !== undefined && spare.exitCode === null && spare.signalCode === null ? spare : start(this.#cacheDir);
  }
}

/** From here on the layer stays readable, even when its blob is deleted. */
async function openBlob(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw BerthError.from(error, `open layer ${path}`);
  }
}

function start(cacheDir: string | undefined): Child {
  const child = spawn(process.execPath, ['--no-warnings', PROGRAM], {
    cwd: '/',
    env: { BERTH_NATIVE: process.env.BERTH_NATIVE, NODE_COMPILE_CACHE: cacheDir },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // A spare may die before it is used; that is found out when it is.
  child.on('error', () => {});
  child.stdin.on('error', () => {});
  return child;
}

/** Gives the child its job, answers its questions, and waits for its end. */
async function converse(
  child: Child,
  job: ApplyJob,
  lowers: readonly string[],
  onProgress: ((bytes: number) => void) | undefined,
): Promise<AppliedLayer> {
  const running = child.exitCode === null && child.signalCode === null;
  const ended = running ? new Promise((resolve) => child.once('close', resolve)) : undefined;
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, MAX_STDERR);
  });
  child.stdin.write(`${JSON.stringify(job)}\n`);
  let result: ChildMessage | undefined;
  for await (const line of createInterface(child.stdout)) {
    const message = JSON.parse(line) as ChildMessage;
    if (message.type === 'progress') onProgress?.(message.bytes);
    else if (message.type === 'lookup') child.stdin.write(`${JSON.stringify(await answer(lowers, message.path))}\n`);
    else result = message;
  }
  await ended;
  if (result?.type === 'done') return { diffId: result.diffId, size: result.size };
  if (result?.type === 'error') throw new BerthError(result.code, result.message);
  if (failure !== undefined) throw BerthError.from(failure, 'start the process that applies the layer');
  const how = child.signalCode === null ? `exited with status ${child.exitCode}` : `was killed by ${child.signalCode}`;
  throw new BerthError('aborted', `the process applying the layer ${how}${stderr === '' ? '' : `: ${stderr.trim()}`}`);
}

async function answer(lowers: readonly string[], path: string): Promise<LookupReply> {
  try {
    return { entry: await lookupLower(lowers, path) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

function checkMediaType(mediaType: string): void {
  const layer = /^application\/vnd\.(oci|docker)\.image\.(layer|rootfs)\./.test(mediaType);
  if (!layer || mediaType.endsWith('+encrypted')) {
    throw new BerthError('unimplemented', `layers of media type "${mediaType}" are not supported`);
  }
}
