import { chmod, chown, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { pathInRoot } from './path-in-root.ts';

/**
 * Directories that images declare as volumes, at `<root>/volumes/CONTAINER/INDEX`: on the host's file system instead of
 * the container's overlay, which not every program can work on. They go with their container.
 */
export class DeclaredVolumes {
  readonly #root: string;

  constructor(root: string) {
    this.#root = join(root, 'volumes');
  }

  async prepare(): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o711 });
  }

  /**
   * Makes a volume that holds what the image has at its place, and answers where. A failure is cleaned up by `remove`.
   *
   * @param rootfs where the container's root file system is mounted
   * @throws invalid_argument when the image has something else than a directory there
   */
  async create(containerId: string, index: number, rootfs: string, path: string): Promise<string> {
    const volume = join(this.#root, containerId, String(index));
    await mkdir(volume, { recursive: true, mode: 0o711 });
    await chmod(volume, 0o755);
    const source = sourceOf(rootfs, path);
    if (source === undefined) return volume;
    const { mode, uid, gid } = await stat(source);
    await chown(volume, uid, gid);
    await chmod(volume, mode & 0o7777);
    // cp knows owners, times, links, holes and extended attributes; most volumes are empty.
    if ((await readdir(source)).length > 0) await execa('cp', ['--archive', '--no-target-directory', source, volume]);
    return volume;
  }

  /** Removes all volumes of a container; there being none is no error. */
  async remove(containerId: string): Promise<void> {
    await rm(join(this.#root, containerId), { recursive: true, force: true });
  }

  /** Containers with volumes. */
  async ids(): Promise<string[]> {
    return await readdir(this.#root);
  }
}

/** undefined when the image has nothing there. */
function sourceOf(rootfs: string, path: string): string | undefined {
  try {
    return pathInRoot(rootfs, `${path}/`);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    if (!hasErrno(error, 'ENOTDIR', 'ELOOP')) throw BerthError.from(error, `volume ${path} of the image`);
    throw new BerthError('invalid_argument', `volume ${path} of the image: the image has no directory there`, {
      cause: error,
    });
  }
}
