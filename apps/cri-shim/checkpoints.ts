import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { execa } from 'execa';
import { BerthError } from '#common/errors.ts';

/**
 * Checkpoints that are being made, at `<root>/checkpoints/CONTAINER`: on disk, as they hold the memory of processes. A
 * folder that a start of the daemon finds belongs to one that a crash cut short.
 */
export class Checkpoints {
  readonly #root: string;

  constructor(root: string) {
    this.#root = join(root, 'checkpoints');
  }

  async prepare(): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
  }

  /** @throws failed_precondition while another of this container is being made */
  async create(containerId: string): Promise<string> {
    const path = join(this.#root, containerId);
    try {
      await mkdir(path, { mode: 0o700 });
      return path;
    } catch (error) {
      if (BerthError.from(error).code !== 'already_exists') throw BerthError.from(error, 'checkpoint');
      throw new BerthError('failed_precondition', `a checkpoint of container ${containerId} is being made already`);
    }
  }

  async remove(containerId: string): Promise<void> {
    await rm(join(this.#root, containerId), { recursive: true, force: true });
  }

  /** Containers whose checkpoint is being made. */
  async ids(): Promise<string[]> {
    return await readdir(this.#root);
  }
}

/** @throws invalid_argument for a path that isn't absolute */
export function checkedLocation(location: string): string {
  if (isAbsolute(location) && !location.endsWith('/')) return location;
  throw new BerthError('invalid_argument', `location ${JSON.stringify(location)} must be the absolute path of a file`);
}

/** Packs a folder into an archive, which is there once it is whole. It is root's alone: it holds memory of processes. */
export async function packArchive(folder: string, archive: string): Promise<void> {
  const part = `${archive}.part`;
  try {
    await writeFile(part, '', { flag: 'wx', mode: 0o600 });
    await execa('tar', ['--create', '--file', part, '--directory', folder, '.']);
    await rename(part, archive);
  } catch (error) {
    await rm(part, { force: true });
    throw BerthError.from(error, `write the checkpoint ${archive}`);
  }
}
