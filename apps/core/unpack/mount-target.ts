import { BerthError } from '#common/errors.ts';
import type { Mount } from '../snapshots/snapshotter.ts';
import type { Whiteouts } from './layer-writer.ts';

/** Where a layer is written so that the mounts show it. */
export interface ApplyTarget {
  /** Directory that becomes the root of the process that writes. */
  readonly root: string;
  readonly whiteouts: Whiteouts;
  /** Directories of the layers below, the nearest first. */
  readonly lowers: readonly string[];
}

/**
 * Finds the directory behind an active snapshot's mounts: the upper directory of an overlay, the source of a bind. Nothing
 * is mounted: overlayfs reads its upper directory as we write it, as long as no one has mounted it meanwhile.
 * @throws invalid_argument without mounts; failed_precondition for a read-only mount; unimplemented for other kinds.
 */
export function applyTarget(mounts: readonly Mount[]): ApplyTarget {
  const [mount] = mounts;
  if (mount === undefined) throw new BerthError('invalid_argument', 'a layer needs a mount to be applied to');
  if (mounts.length > 1 || (mount.target ?? '') !== '') {
    throw new BerthError('unimplemented', 'a layer can be applied to a single mount only');
  }
  if (mount.type === 'overlay') return overlayTarget(mount);
  const bind = mount.type === 'bind' || mount.options.includes('bind') || mount.options.includes('rbind');
  if (!bind) throw new BerthError('unimplemented', `a layer can't be applied to a mount of type "${mount.type}"`);
  if (mount.options.includes('ro')) throw readOnly(mount.source);
  return { root: mount.source, whiteouts: { style: 'remove' }, lowers: [] };
}

/**
 * As {@link applyTarget}, for a snapshot without a parent that overlayfs is going to show on top of others.
 * @throws invalid_argument unless it is a writable bind mount.
 */
export function baselessTarget(mounts: readonly Mount[]): ApplyTarget {
  const { root, whiteouts } = applyTarget(mounts);
  if (whiteouts.style === 'overlay') {
    throw new BerthError('invalid_argument', 'a snapshot with a parent is not given another');
  }
  return { root, whiteouts: { style: 'overlay', xattr: 'trusted' }, lowers: [] };
}

function overlayTarget(mount: Mount): ApplyTarget {
  const { upper: root, lowers } = overlayDirectories(mount);
  if (root === undefined || mount.options.includes('ro')) throw readOnly('the overlay');
  return {
    root,
    whiteouts: { style: 'overlay', xattr: mount.options.includes('userxattr') ? 'user' : 'trusted' },
    lowers,
  };
}

/** The directories that an overlay mount shows merged: the upper one, if it has any, and the lower ones, nearest first. */
export function overlayDirectories(mount: Mount): { readonly upper: string | undefined; readonly lowers: string[] } {
  const upper = option(mount, 'upperdir');
  return {
    upper: upper === undefined ? undefined : unescaped(upper),
    lowers: splitLowers(option(mount, 'lowerdir') ?? ''),
  };
}

/** Overlayfs escapes colons, commas and backslashes in its options with a backslash. */
function splitLowers(value: string): string[] {
  return (value.match(/(?:\\.|[^:\\])+/g) ?? []).map(unescaped);
}

function unescaped(value: string): string {
  return value.replace(/\\(.)/g, '$1');
}

function option(mount: Mount, name: string): string | undefined {
  return mount.options.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
}

function readOnly(what: string): BerthError {
  return new BerthError('failed_precondition', `a layer can't be applied to ${what}: it is mounted read-only`);
}
