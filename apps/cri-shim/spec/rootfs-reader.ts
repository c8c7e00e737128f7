import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { lgetxattr } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** A mount as the snapshot service describes it. */
export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** Links that are followed on one path, as in the kernel. */
const maxLinks = 40;

/**
 * Reads files of a container's root file system without mounting it: through the directories of the overlay, from the
 * top to the bottom, as the kernel would merge them. Links are resolved inside the root, whatever they say. The
 * snapshot must not be in use, so that nobody moves things about meanwhile.
 */
export class RootfsReader {
  readonly #layers: readonly string[];

  /** @throws unimplemented for mounts other than one overlay or one bind. */
  constructor(mounts: readonly SnapshotMount[]) {
    this.#layers = layersOf(mounts);
  }

  /**
   * The file's text; undefined when there is none.
   *
   * @throws invalid_argument when it isn't a regular file or is larger than `limit` bytes.
   */
  async read(path: string, limit: number): Promise<string | undefined> {
    const found = await this.#find(path);
    if (found === undefined) return undefined;
    const file = await openRegular(found, path);
    if (file === undefined) return undefined;
    try {
      const buffer = Buffer.alloc(limit + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
        if (bytesRead === 0) break;
        length += bytesRead;
        if (length > limit) {
          throw new BerthError('invalid_argument', `${path} in the image is larger than ${limit} bytes`);
        }
      }
      return buffer.toString('utf8', 0, length);
    } finally {
      await file.close();
    }
  }

  /** The file's place in one of the layers. */
  async #find(path: string): Promise<string | undefined> {
    let pending = path.split('/').filter((part) => part !== '' && part !== '.');
    let links = 0;
    let resolved: string[] = [];
    while (pending.length > 0) {
      const part = pending[0];
      pending = pending.slice(1);
      if (part === undefined) break;
      if (part === '..') {
        resolved.pop();
        continue;
      }
      const place = await this.#lookup([...resolved, part]);
      if (place === undefined) return undefined;
      if (place.kind === 'link') {
        links += 1;
        if (links > maxLinks) {
          throw new BerthError('invalid_argument', `${path} in the image has too many levels of symbolic links`);
        }
        const target = await readlink(place.path);
        if (target.startsWith('/')) resolved = [];
        pending = [...target.split('/').filter((step) => step !== '' && step !== '.'), ...pending];
        continue;
      }
      if (pending.length === 0) return place.path;
      if (place.kind !== 'directory') return undefined;
      resolved.push(part);
    }
    return undefined;
  }

  /** The topmost entry for a path whose directories hold no links, by overlayfs' rules for whiteouts and opacity. */
  async #lookup(parts: readonly string[]): Promise<{ kind: 'directory' | 'link' | 'other'; path: string } | undefined> {
    let layers = this.#layers;
    let found: { kind: 'directory' | 'link' | 'other'; path: string } | undefined;
    let below = '';
    for (const part of parts) {
      below = join(below, part);
      found = undefined;
      const merged: string[] = [];
      for (const layer of layers) {
        const path = join(layer, below);
        const stat = await lstat(path).catch((error: unknown) => {
          if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
          throw BerthError.from(error, `read ${path}`);
        });
        if (stat === undefined) continue;
        if (stat.isDirectory()) {
          found ??= { kind: 'directory', path };
          merged.push(layer);
          if (isOpaque(path)) break;
          continue;
        }
        const whiteout = stat.isCharacterDevice() && stat.rdev === 0;
        if (found === undefined && !whiteout) found = { kind: stat.isSymbolicLink() ? 'link' : 'other', path };
        break;
      }
      if (found === undefined) return undefined;
      layers = merged;
    }
    return found;
  }
}

function isOpaque(path: string): boolean {
  return ['trusted.overlay.opaque', 'user.overlay.opaque'].some((name) => lgetxattr(path, name)?.toString() === 'y');
}

function layersOf(mounts: readonly SnapshotMount[]): string[] {
  const [mount] = mounts;
  if (mount !== undefined && mounts.length === 1) {
    if (mount.type === 'bind') return [mount.source];
    if (mount.type === 'overlay') {
      const option = (name: string) =>
        mount.options.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
      const upper = option('upperdir');
      const lower = option('lowerdir')?.split(':') ?? [];
      const layers = upper === undefined ? lower : [upper, ...lower];
      if (layers.length > 0 && layers.every((layer) => layer.startsWith('/'))) return layers;
    }
  }
  throw new BerthError('unimplemented', 'the snapshotter answered mounts that are neither an overlay nor a bind');
}

async function openRegular(place: string, path: string): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: a FIFO in the image must not make us wait.
    file = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw BerthError.from(error, `read ${path} in the image`);
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new BerthError('invalid_argument', `${path} in the image isn't a regular file`);
}
