import * as fs from 'node:fs';
import { fsPath } from '../unpack/byte-path.ts';
import type { Change } from './change.ts';
import { type FileXattrs, namesIn, statOf, xattrsOf } from './layer-files.ts';

const PIECE = 256 * 1024;
const nsPerSecond = 1_000_000_000n;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME } = fs.constants;

/** A name in both trees; undefined on the side that hasn't got it. */
interface Pair {
  readonly path: string;
  readonly lower: fs.BigIntStats | undefined;
  readonly upper: fs.BigIntStats | undefined;
}

/** The changes between two whole trees, found by walking both. `lower` and `upper` are their roots. */
export function* treeChanges(lower: string, upper: string): Generator<Change> {
  yield* inBoth(lower, upper, '');
}

function* inBoth(lowerRoot: string, upperRoot: string, directory: string): Generator<Change> {
  const names = new Set([...namesIn(`${lowerRoot}${directory}/`), ...namesIn(`${upperRoot}${directory}/`)]);
  for (const name of [...names].sort()) {
    const path = `${directory}/${name}`;
    const pair = { path, lower: statOf(lowerRoot + path), upper: statOf(upperRoot + path) };
    yield* ofPair(lowerRoot, upperRoot, pair);
  }
}

function* ofPair(lowerRoot: string, upperRoot: string, { path, lower, upper }: Pair): Generator<Change> {
  // No layer holds sockets, but what one hides is gone.
  if (upper === undefined || upper.isSocket()) {
    if (lower !== undefined && !lower.isSocket()) yield { kind: 'removed', path };
    return;
  }
  const xattrs = xattrsOf(upperRoot + path);
  const unchanged = lower !== undefined && isSame(lowerRoot + path, lower, upperRoot + path, upper, xattrs);
  if (!unchanged) yield { kind: 'entry', path, stat: upper, xattrs };
  else if (!upper.isDirectory() && upper.nlink > 1n) {
    yield { kind: 'entry', path, stat: upper, xattrs, unchanged };
  }
  if (!upper.isDirectory()) return;
  if (lower?.isDirectory()) yield* inBoth(lowerRoot, upperRoot, path);
  else yield* allIn(upperRoot, path);
}

function* allIn(root: string, directory: string): Generator<Change> {
  for (const name of namesIn(root + directory)) {
    const path = `${directory}/${name}`;
    const stat = statOf(root + path);
    if (stat === undefined || stat.isSocket()) continue;
    yield { kind: 'entry', path, stat, xattrs: xattrsOf(root + path) };
    if (stat.isDirectory()) yield* allIn(root, path);
  }
}

/**
 * Whether two files are the same as far as a layer tells. Times of directories don't count, since every change in them
 * changes those. Where times were cut to seconds, as in many archives, the data decides.
 */
function isSame(
  lowerPath: string,
  lower: fs.BigIntStats,
  upperPath: string,
  upper: fs.BigIntStats,
  xattrs: FileXattrs,
): boolean {
  const facts: (keyof fs.BigIntStats)[] = ['mode', 'uid', 'gid', 'rdev'];
  if (facts.some((fact) => lower[fact] !== upper[fact])) return false;
  if (!sameXattrs(xattrsOf(lowerPath), xattrs)) return false;
  if (upper.isDirectory()) return true;
  if (lower.size !== upper.size || lower.mtimeNs !== upper.mtimeNs) return false;
  if (upper.isSymbolicLink()) return linkTarget(lowerPath).equals(linkTarget(upperPath));
  return !upper.isFile() || upper.mtimeNs % nsPerSecond !== 0n || sameData(lowerPath, upperPath);
}

export function sameXattrs({ carried: a }: FileXattrs, { carried: b }: FileXattrs): boolean {
  return a.length === b.length && a.every(([name, value], i) => name === b[i]?.[0] && value.equals(b[i][1]));
}

export function linkTarget(path: string): Buffer {
  return fs.readlinkSync(fsPath(path), { encoding: 'buffer' });
}

export function sameData(lowerPath: string, upperPath: string): boolean {
  const fds = [lowerPath, upperPath].map((path) => openFile(path));
  try {
    const [a, b] = [Buffer.allocUnsafe(PIECE), Buffer.allocUnsafe(PIECE)];
    for (;;) {
      const [m, n] = [fs.readSync(fds[0] as number, a), fs.readSync(fds[1] as number, b)];
      if (m !== n || !a.subarray(0, m).equals(b.subarray(0, n))) return false;
      if (m === 0) return true;
    }
  } finally {
    for (const fd of fds) fs.closeSync(fd);
  }
}

/** Opens what was a regular file a moment ago, without waiting and without following, should it be another thing now. */
export function openFile(path: string): number {
  return fs.openSync(fsPath(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
}
