import { isWhiteout } from '../unpack/directory-tree.ts';
import type { LookupLower } from '../unpack/lower.ts';
import type { Change } from './change.ts';
import { type FileXattrs, namesIn, statOf, xattrsOf } from './layer-files.ts';

/** Overlayfs' note that says that what it stands on shows something of another place; only a mount can follow it. */
export interface Indirection {
  readonly kind: 'indirection';
  readonly path: string;
}

/** Notes for moved directories, files without their data, and whiteouts that are no devices. */
const INDIRECT = ['redirect', 'metacopy', 'whiteout'];

/**
 * The changes that an overlay's upper directory stands for, without a look at the trees below but for what is opaque
 * (kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"). A directory counts as
 * changed when it is there. The sequence ends with an {@link Indirection} when it comes to one.
 * @param root the upper directory, as this process sees it
 * @param lookup tells what the lower directories have under a path
 */
export function* upperChanges(root: string, lookup: LookupLower): Generator<Change | Indirection> {
  yield* inDirectory(root, '', lookup, true);
}

/** Answers false once the walk is to end. @param merged whether the lower directories may show through */
function* inDirectory(
  root: string,
  directory: string,
  lookup: LookupLower,
  merged: boolean,
): Generator<Change | Indirection, boolean> {
  for (const name of namesIn(`${root}${directory}/`)) {
    const path = `${directory}/${name}`;
    const stat = statOf(root + path);
    if (stat === undefined) continue;
    if (isWhiteout(stat)) {
      if (merged) yield { kind: 'removed', path };
      continue;
    }
    if (stat.isSocket()) {
      // No layer holds sockets, but what one hides is gone.
      if (merged && lookup(path).kind !== 'none') yield { kind: 'removed', path };
      continue;
    }
    const xattrs = xattrsOf(root + path);
    if (isIndirect(xattrs)) {
      yield { kind: 'indirection', path };
      return false;
    }
    yield { kind: 'entry', path, stat, xattrs };
    if (!stat.isDirectory()) continue;
    const opaque = xattrs.overlay.get('opaque') === 'y';
    // Every new directory is opaque; it says something only where there is something to hide.
    if (merged && opaque && lookup(path).kind === 'directory') yield { kind: 'opaque', path };
    if (!(yield* inDirectory(root, path, lookup, merged && !opaque))) return false;
  }
  return true;
}

function isIndirect({ overlay }: FileXattrs): boolean {
  return INDIRECT.some((note) => overlay.has(note)) || overlay.get('opaque') === 'x';
}
