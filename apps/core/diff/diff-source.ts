import { readdir } from 'node:fs/promises';
import type { FsMount } from '#common/mount.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Mount } from '../snapshots/snapshotter.ts';
import { overlayDirectories } from '../unpack/mount-target.ts';

/** An upper directory and what it lies on, nearest first. */
export interface UpperDirectory {
  readonly root: string;
  readonly lowers: readonly string[];
}

/** Options of overlayfs that make a directory show more than lies in it. */
const INDIRECT_OPTION = /^(redirect_dir=(on|follow)|metacopy=on|datadir\+=|lowerdir\+=)/;

/**
 * The one directory that holds all changes from `left` to `right`, when there is such a one: both are made of plain
 * directories, and the right side has one more on top of those of the left. undefined when both have to be walked.
 */
export async function upperDirectory(
  left: readonly Mount[],
  right: readonly Mount[],
): Promise<UpperDirectory | undefined> {
  const above = layersOf(right);
  const below = layersOf(left);
  if (above === undefined || below === undefined) return undefined;
  const [root, ...lowers] = above;
  if (root === undefined) return undefined;
  if (isSame(lowers, below)) return { root, lowers };
  // A view of nothing has an empty directory of its own.
  const [only] = below;
  const nothing = lowers.length === 0 && below.length === 1 && only !== undefined && (await isEmpty(only));
  return nothing ? { root, lowers: [] } : undefined;
}

/** The directories that mounts show merged, nearest first; undefined where they are made of something else. */
function layersOf(mounts: readonly Mount[]): readonly string[] | undefined {
  const [mount] = mounts;
  if (mount === undefined) return [];
  if (mounts.length > 1 || (mount.target ?? '') !== '') return undefined;
  if (mount.options.some((option) => option.startsWith('uidmap=') || option.startsWith('gidmap='))) return undefined;
  if (mount.type === 'bind') return [mount.source];
  if (mount.type !== 'overlay' || mount.options.some((option) => INDIRECT_OPTION.test(option))) return undefined;
  const { upper, lowers } = overlayDirectories(mount);
  return upper === undefined ? lowers : [upper, ...lowers];
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((path, index) => path === b[index]);
}

async function isEmpty(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length === 0;
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

/** The mounts, to be read only: an overlay's upper directory becomes its nearest lower one, and stays free for others. */
export function readOnly(mounts: readonly Mount[]): FsMount[] {
  return mounts.map(({ type, source, target = '', options }) => {
    if (type !== 'overlay') return { type, source, target, options: [...options, 'ro'] };
    const value = (name: string) => options.find((option) => option.startsWith(name))?.slice(name.length);
    const [upper, lower] = [value('upperdir='), value('lowerdir=')];
    const others = options.filter((option) => !/^(upperdir|workdir|lowerdir)=/.test(option));
    const lowerdir = [upper, lower].filter((paths) => paths !== undefined).join(':');
    return { type, source, target, options: [...others, `lowerdir=${lowerdir}`, 'ro'] };
  });
}
