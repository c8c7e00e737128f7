import { lstatSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import { entriesOf } from '../directory-entries.ts';
import type { SnapshotUsage } from './snapshotter.ts';

/** st_blocks counts units of 512 bytes, whatever the file system's block size (stat(2)). */
export const blockUnit = 512;
/** Files looked at between two turns of the event loop: about a millisecond. */
const filesPerTurn = 200;

/**
 * Space on disk and inodes below and including `root`, a file with several links counted once. Files that vanish
 * meanwhile don't count. Synchronous calls in small batches: a stat takes less time than a hop through the thread pool.
 */
export async function diskUsage(root: string): Promise<SnapshotUsage> {
  const seen = new Set<string>();
  const usage = { size: 0, inodes: 0 };
  const count = (path: string): boolean => {
    const stat = lstat(path);
    if (!stat) return false;
    if (stat.nlink > 1 && !stat.isDirectory()) {
      const inode = `${stat.dev}:${stat.ino}`;
      if (seen.has(inode)) return false;
      seen.add(inode);
    }
    usage.size += stat.blocks * blockUnit;
    usage.inodes++;
    return true;
  };
  try {
    if (!count(root)) return usage;
    const directories = [root];
    let looked = 0;
    for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
      for (const entry of entriesOf(directory)) {
        const path = join(directory, entry.name);
        if (count(path) && entry.isDirectory()) directories.push(path);
        if (++looked % filesPerTurn === 0) await nextTurn();
      }
    }
    return usage;
  } catch (error) {
    throw BerthError.from(error, `count the disk usage of ${root}`);
  }
}

function lstat(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
