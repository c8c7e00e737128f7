import { type FileXattrs, namesIn, statOf, xattrsOf } from '../diff/layer-files.ts';
import { linkTarget, sameData, sameXattrs } from '../diff/tree-changes.ts';
import { displayPath } from '../unpack/byte-path.ts';
import { isWhiteout } from '../unpack/directory-tree.ts';

/** Overlayfs' notes that change what a tree shows. */
const overlayNotes = ['opaque', 'redirect'] as const;

/**
 * The first place where an unpacked tree isn't what its layer makes, in words; undefined when there is none. Times
 * count for files and symlinks: a directory that no layer names has the time of its unpacking.
 */
export function firstDifference(tree: string, fresh: string, path = ''): string | undefined {
  const [is, should] = [statOf(tree + path), statOf(fresh + path)];
  const shown = displayPath(path === '' ? '/' : path);
  if (is === undefined) return `${shown} is missing`;
  if (should === undefined) return `${shown} is not in the layer`;
  const fact = (['mode', 'uid', 'gid', 'rdev'] as const).find((name) => is[name] !== should[name]);
  if (fact !== undefined) return `${shown} has another ${fact}`;
  if (!sameAttributes(xattrsOf(tree + path), xattrsOf(fresh + path))) return `${shown} has other extended attributes`;
  if (is.isDirectory()) return firstBelow(tree, fresh, path);
  if (isWhiteout(is)) return undefined;
  if (is.nlink !== should.nlink) return `${shown} has another number of links`;
  if (is.isSymbolicLink() && !linkTarget(tree + path).equals(linkTarget(fresh + path))) {
    return `${shown} leads elsewhere`;
  }
  if (is.isFile() && (is.size !== should.size || !sameData(tree + path, fresh + path)))
    return `${shown} has other data`;
  const isTimed = is.isFile() || is.isSymbolicLink();
  return isTimed && is.mtimeNs !== should.mtimeNs ? `${shown} has another time` : undefined;
}

function firstBelow(tree: string, fresh: string, directory: string): string | undefined {
  const names = new Set([...namesIn(`${tree}${directory}/`), ...namesIn(`${fresh}${directory}/`)]);
  for (const name of [...names].sort()) {
    const difference = firstDifference(tree, fresh, `${directory}/${name}`);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function sameAttributes(is: FileXattrs, should: FileXattrs): boolean {
  return sameXattrs(is, should) && overlayNotes.every((name) => is.overlay.get(name) === should.overlay.get(name));
}
