import { mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { mountOn } from '#common/mount.ts';
import { removeView } from '#common/mount-idmapped.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { SnapshotMounts } from './core-client/types.ts';
import { pathInRoot } from './path-in-root.ts';

/** Key of the read-only snapshot behind a container's volume, by the volume's place among its mounts. */
export function volumeKey(containerId: string, index: number): string {
  return `${containerId}-volume-${index}`;
}

/** The container of a volume's snapshot; the key itself when it is none. */
export function containerOfKey(key: string): string {
  return key.replace(/-volume-\d+$/, '');
}

/** Images that are mounted for containers, at `<state>/image-volumes/CONTAINER/NAME`. */
export class ImageVolumes {
  readonly #root: string;

  constructor(state: string) {
    this.#root = join(state, 'image-volumes');
  }

  async prepare(): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o711 });
  }

  /** Mounts a snapshot and answers where. A failure is cleaned up by `remove`. */
  async mount(containerId: string, name: string, mounts: SnapshotMounts): Promise<string> {
    const path = join(this.#root, containerId, name);
    await mkdir(path, { recursive: true, mode: 0o711 });
    try {
      for (const one of mounts) mountOn(one, path);
    } catch (error) {
      throw BerthError.from(error, `mount image volume ${path}`);
    }
    return path;
  }

  /** Unmounts all volumes of a container; there being none is no error. */
  async remove(containerId: string): Promise<void> {
    const directory = join(this.#root, containerId);
    for (const name of await entries(directory)) {
      const path = join(directory, name);
      unmountAll(path);
      await rmdir(path).catch(ignoreMissing);
    }
    await rmdir(directory).catch(ignoreMissing);
  }

  /** Containers with volumes. */
  async ids(): Promise<string[]> {
    return await entries(this.#root);
  }
}

/**
 * The place of `subPath` in a mounted image.
 *
 * @throws invalid_argument for a path that isn't relative, climbs, or isn't in the image
 */
export function pathInImage(root: string, subPath: string): string {
  if (subPath === '') return root;
  if (subPath.startsWith('/') || subPath.split('/').includes('..') || subPath.includes('\0')) {
    throw new BerthError(
      'invalid_argument',
      `image_sub_path ${JSON.stringify(subPath)} must be a relative path without ".."`,
    );
  }
  try {
    return pathInRoot(root, subPath);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw BerthError.from(error, `image_sub_path "${subPath}"`);
    throw new BerthError('invalid_argument', `image_sub_path "${subPath}" doesn't exist in the image`, {
      cause: error,
    });
  }
}

/** An id-mapped volume is two mounts, one over the other. */
function unmountAll(path: string): void {
  removeView(path);
  for (;;) {
    try {
      umount(path, MNT.DETACH | MNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      if (hasErrno(error, 'EINVAL', 'ENOENT')) return;
      throw BerthError.from(error, `unmount image volume ${path}`);
    }
  }
}

async function entries(directory: string): Promise<string[]> {
  return (await readdir(directory).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: unknown): undefined {
  if (!hasErrno(error, 'ENOENT')) throw error;
  return undefined;
}
