import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasErrno } from './node-error.ts';

/**
 * Makes a directory and its missing parents, as `mkdir -p`; one that is there keeps its mode.
 *
 * For every path that an operator or a client chose. Node's own `mkdir(…, { recursive: true })` never returns when a
 * file system answers ENOENT below a directory that exists, as /proc does: it takes that for a missing parent and
 * starts over, for ever.
 * @throws Error by errno, of the first directory that can't be made
 */
export function makeDirectories(path: string, mode: number): void {
  if (made(path, mode)) return;
  const parent = dirname(path);
  if (parent !== path) makeDirectories(parent, mode);
  mkdirUnlessThere(path, mode);
}

/** Tries without looking at the parents; false when one of them seems to be missing. */
function made(path: string, mode: number): boolean {
  try {
    mkdirUnlessThere(path, mode);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

function mkdirUnlessThere(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (hasErrno(error, 'EEXIST') && statSync(path).isDirectory()) return;
    throw error;
  }
}
