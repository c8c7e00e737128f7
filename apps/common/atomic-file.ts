import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { BerthError } from './errors.ts';

export interface WriteAtomicOptions {
  /** Permission bits. Default 0600. */
  readonly mode?: number;
  /** Flush file and directory to the disk, so that the file outlives a power loss. Default false. */
  readonly fsync?: boolean;
}

/**
 * Writes a file so that a reader sees the old content or the new, never a part: a temporary file in the same
 * directory is renamed over `path`.
 * @throws BerthError with the code of the errno (`resource_exhausted` for a full disk, …), naming the path
 */
export async function writeAtomic(
  path: string,
  data: string | Uint8Array,
  options: WriteAtomicOptions = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await writeNew(temporary, data, options);
    try {
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
    if (options.fsync) await syncDirectory(dirname(path));
  } catch (error) {
    throw BerthError.from(error, `write ${path}`);
  }
}

/** Makes renames and new names in a directory outlive a power loss. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}

async function writeNew(path: string, data: string | Uint8Array, options: WriteAtomicOptions): Promise<void> {
  const mode = options.mode ?? 0o600;
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'wx', mode);
    // The umask may have taken bits away.
    await file.chmod(mode);
    await file.writeFile(data);
    if (options.fsync) await file.sync();
    await file.close();
  } catch (error) {
    await file?.close().catch(() => undefined);
    if (file !== undefined) await unlink(path).catch(() => undefined);
    throw error;
  }
}
