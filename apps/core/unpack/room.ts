import { statfsSync } from 'node:fs';
import { BerthError } from '#common/errors.ts';

/** Of a file system's bytes and inodes, a part that no layer gets, and its most in bytes. */
const RESERVE = 0.01;
const MAX_RESERVE = 1024 ** 3;

/**
 * Ends an unpacking before the file system is full, so that a layer that swells to many times its size takes nothing from
 * what else is on the node.
 * @throws resource_exhausted when little is left of the file system that `path` is on.
 */
export function requireRoom(path: string): void {
  const { bsize, blocks, bavail, files, ffree } = statfsSync(path);
  const reserve = Math.min(blocks * bsize * RESERVE, MAX_RESERVE);
  if (bavail * bsize < reserve) {
    const message = `the layer leaves less than ${Math.round(reserve / 1024)} KiB free on its file system`;
    throw new BerthError('resource_exhausted', message);
  }
  // Some file systems make inodes as they are needed and count none.
  if (files > 0 && ffree < files * RESERVE) {
    throw new BerthError('resource_exhausted', 'the layer leaves less than 1 % of its file system’s inodes free');
  }
}
