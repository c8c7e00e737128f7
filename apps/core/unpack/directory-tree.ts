import * as fs from 'node:fs';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, displayPath, fsPath } from './byte-path.ts';
import type { LowerDirectory, LowerFile, LowerLayers } from './lower.ts';

const MAX_LINKS = 40;
/** Where aufs, which Docker once used, kept files with several links. */
export const AUFS_LINKS = '.wh..wh.plnk';

/** Makes a directory that the archive didn't describe: `lower` has the attributes of the one it stands on, if any. */
export type MakeParent = (path: string, lower: LowerDirectory | undefined, replaces: 'nothing' | 'whiteout') => void;

/**
 * The directories of the layer being written, seen merged with the layers below: symlinks of either are followed inside
 * the root, and a directory that only a lower layer has is made here with that layer's attributes.
 */
export class DirectoryTree {
  readonly #below: LowerLayers;
  readonly #make: MakeParent;
  /** Directories known to be here; the value says whether a lower layer shows through. */
  readonly #known = new Map<string, boolean>();
  readonly #resolved = new Map<string, string>();

  constructor(below: LowerLayers, hasLower: boolean, make: MakeParent) {
    this.#below = below;
    this.#make = make;
    this.#known.set('', hasLower);
  }

  /** The real path of a directory, '' for the root; made when missing. @throws invalid_argument when it can't be one. */
  directory(parts: readonly string[]): string {
    return this.#walk(parts, true) as string;
  }

  /** As {@link directory}, but undefined when neither this layer nor one below has it; never makes more than copies. */
  existing(parts: readonly string[]): string | undefined {
    return this.#walk(parts, false);
  }

  /** Says that `path` is a directory now; `merged` when a lower one of the same name shows through. */
  add(path: string, merged: boolean): void {
    const parent = path.slice(0, path.lastIndexOf('/'));
    this.#known.set(path, merged && this.#known.get(parent) === true);
  }

  /** Says that nothing below shows through `path` any more. */
  seal(path: string): void {
    for (const known of this.#known.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.#known.set(known, false);
    }
  }

  /** Whether a lower layer may show something in the directory `path`. */
  isMerged(path: string): boolean {
    return this.#known.get(path) === true;
  }

  /** What a lower layer shows at `path`, whose parent is a known directory, unless it is a directory. */
  fileBelow(path: string): LowerFile | undefined {
    if (!this.isMerged(path.slice(0, path.lastIndexOf('/')))) return undefined;
    const entry = this.#below.lookup(path);
    return entry.kind === 'none' || entry.kind === 'other' || entry.kind === 'directory' ? undefined : entry;
  }

  /** Says that a directory or symlink went away. */
  forget(path: string): void {
    this.#resolved.clear();
    for (const known of this.#known.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.#known.delete(known);
    }
  }

  #walk(parts: readonly string[], make: boolean): string | undefined {
    if (parts.length === 0) return '';
    const key = parts.join('/');
    const cached = this.#resolved.get(key);
    if (cached !== undefined) return cached;
    const resolved = this.#resolve(parts, make);
    if (resolved !== undefined) this.#resolved.set(key, resolved);
    return resolved;
  }

  #resolve(parts: readonly string[], make: boolean): string | undefined {
    const todo = [...parts].reverse();
    let at = '';
    let links = 0;
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        at = at.slice(0, Math.max(0, at.lastIndexOf('/')));
        continue;
      }
      const path = `${at}/${part}`;
      const step = this.#known.has(path) ? 'directory' : this.#step(at, path, make);
      if (step === undefined) return undefined;
      if (step === 'directory') {
        at = path;
        continue;
      }
      if (++links > MAX_LINKS) throw notDirectory(path, 'too many levels of symbolic links');
      if (step.target.startsWith('/')) at = '';
      todo.push(...step.target.split('/').reverse());
    }
    return at;
  }

  /** One component: a directory now, a symlink to follow, or undefined when there is none and none may be made. */
  #step(parent: string, path: string, make: boolean): 'directory' | { target: string } | undefined {
    const stat = lstat(path);
    if (stat?.isDirectory()) {
      this.#known.set(path, this.#known.get(parent) === true);
      return 'directory';
    }
    if (stat?.isSymbolicLink()) return { target: byteString(fs.readlinkSync(fsPath(path), 'buffer')) };
    if (stat !== undefined && !isWhiteout(stat)) throw notDirectory(path, 'it is a file');
    const lower = stat === undefined && this.#known.get(parent) === true ? this.#below.lookup(path) : undefined;
    if (lower?.kind === 'symlink') return { target: lower.target };
    if (lower?.kind !== 'directory' && !make) return undefined;
    if (path.includes('/.wh.') && path !== `/${AUFS_LINKS}`) {
      throw notDirectory(path, 'names that begin with ".wh." are for whiteouts');
    }
    this.#make(path, lower?.kind === 'directory' ? lower : undefined, stat === undefined ? 'nothing' : 'whiteout');
    this.#known.set(path, lower?.kind === 'directory');
    return 'directory';
  }
}

/** Overlayfs' mark of a removed entry: a character device 0/0. */
export function isWhiteout(stat: fs.Stats | fs.BigIntStats): boolean {
  return stat.isCharacterDevice() && Number(stat.rdev) === 0;
}

export function lstat(path: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(fsPath(path));
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function notDirectory(path: string, why: string): BerthError {
  return new BerthError('invalid_argument', `${displayPath(path)} can't be used as a directory: ${why}`);
}
