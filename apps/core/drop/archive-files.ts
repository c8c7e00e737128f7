import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasErrno } from '#common/node-error.ts';

/** An image archive, or a directory with an OCI image layout, in the drop directory. */
export interface ArchiveFile {
  /** Its name in the directory. */
  readonly name: string;
  readonly path: string;
  /**
   * Changes when the file is written or replaced, not when it is renamed: inode, size and time of the last write. A
   * directory's is that of its index, which whoever writes a layout writes last.
   */
  readonly identity: string;
  /** Milliseconds since the last write. */
  readonly ageMs: number;
}

const archiveName = /\.(tar|tar\.gz|tgz|tar\.zst|tzst)$/i;

/** Whether a name is one of an archive. What is still being copied has a name with a dot before or another end. */
function isArchiveName(name: string): boolean {
  return archiveName.test(name) && !name.startsWith('.');
}

/** The archives in a directory, by name. Files that vanish meanwhile, and directories without an index, are left out. */
export function archivesIn(directory: string): ArchiveFile[] {
  return readdirSync(directory)
    .filter((name) => !name.startsWith('.'))
    .sort()
    .map((name) => archiveAt(directory, name))
    .filter((archive) => archive !== undefined);
}

/** undefined when there is no such archive, or no more. */
export function archiveAt(directory: string, name: string): ArchiveFile | undefined {
  const path = join(directory, name);
  try {
    const stat = isArchiveName(name) ? statSync(path, { bigint: true }) : undefined;
    const facts = stat?.isFile() ? stat : statSync(join(path, 'index.json'), { bigint: true });
    if (!facts.isFile()) return undefined;
    const identity = `${facts.ino}-${facts.size}-${facts.mtimeNs}`;
    return { name, path, identity, ageMs: Date.now() - Number(facts.mtimeMs) };
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined;
    throw error;
  }
}
