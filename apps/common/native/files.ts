/**
 * File calls on the addon: in an idle shim node:fs and node:path would take a sixth of the memory, and for the small
 * files that a kernel makes up they take longer than the reading.
 */
import { hasErrno } from '../node-error.ts';
import { close, fileMode, mkdir, O, open, readAll, rename, rmdir, S, unlink, writeAll } from './index.ts';

export type FileKind = 'fifo' | 'folder' | 'file' | 'other';

export function readText(path: string): string {
  const fd = open(path, O.RDONLY, 0);
  try {
    return readAll(fd).toString('utf8');
  } finally {
    close(fd);
  }
}

/** undefined when there is no such file, also where a cgroup or process vanished under the open descriptor. */
export function readTextIfThere(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENODEV', 'ESRCH', 'EOPNOTSUPP')) return undefined;
    throw error;
  }
}

/** Replaces the content of a file that only root may read. */
export function writeText(path: string, text: string): void {
  const fd = open(path, O.WRONLY | O.CREAT | O.TRUNC, 0o600);
  try {
    writeAll(fd, Buffer.from(text));
  } finally {
    close(fd);
  }
}

/** Writes to a file that the kernel made, under /proc or /sys. */
export function writeKernelFile(path: string, text: string): void {
  const fd = open(path, O.WRONLY, 0);
  try {
    writeAll(fd, Buffer.from(text));
  } finally {
    close(fd);
  }
}

/** Replaces a small file of volatile state in one step. */
export function writeTextAtomic(path: string, text: string): void {
  writeText(`${path}.new`, text);
  rename(`${path}.new`, path);
}

/** Nothing to remove is no error. */
export function removeFile(path: string): void {
  try {
    unlink(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}

/** An empty folder; nothing to remove is no error. */
export function removeFolder(path: string): void {
  try {
    rmdir(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
}

/** With the folders above it; those that exist keep their mode. */
export function makeFolders(path: string, mode: number): void {
  try {
    mkdir(path, mode);
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return;
    if (!hasErrno(error, 'ENOENT') || folderOf(path) === path) throw error;
    makeFolders(folderOf(path), mode);
    makeFolders(path, mode);
  }
}

export function isThere(path: string): boolean {
  try {
    fileMode(path);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

export function kindOf(path: string): FileKind {
  const type = fileMode(path) & S.IFMT;
  if (type === S.IFIFO) return 'fifo';
  if (type === S.IFDIR) return 'folder';
  return type === S.IFREG ? 'file' : 'other';
}

/** The part of an absolute path before its last name. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 1));
}

/** The last name of a path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
