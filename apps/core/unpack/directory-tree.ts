import * as fs from 'node:fs';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, displayPath, fsPath } from './byte-path.ts';
import type { LowerDirectory, LowerEntry, LowerFile, LowerLayers } from './lower.ts';

const MAX_LINKS = 40;
/** Where aufs, which Docker once used, kept files with several links. */
export const AUFS_LINKS = '.wh..wh.plnk';

/** What becomes of a directory that the archive didn't describe. */
export interface ParentMaker {
  /** Makes it: `lower` has the attributes of the one it stands on, if any. */
  make(path: string, lower: LowerDirectory | undefined, replaces: 'nothing' | 'whiteout'): void;
  /** Says of one that was made before the layers below were there what it stands on. */
  found(path: string, lower: LowerDirectory): void;
}

/** A directory was made ahead of the layers below, where one of them has a symlink: what was written is out of place. */
export class OutOfPlace extends Error {}

/**
 * The directories of the layer being written, seen merged with the layers below: symlinks of either are followed inside
 * the root, and a directory that only a lower layer has is made here with that layer's attributes.
 *
 * Ahead of the layers below, a question about them waits until they are written. So a parent is taken for a directory
 * then, and the question comes later: with the first that can't be put off, or with {@link settle}.
 */
export class DirectoryTree {
  readonly #below: LowerLayers;
  readonly #parents: ParentMaker;
  /** Directories known to be here; the value says whether a lower layer shows through. */
  readonly #known = new Map<string, boolean>();
  readonly #resolved = new Map<string, string>();
  #isAhead: boolean;
  /** Taken for directories ahead of the layers below, the outer ones first. */
  readonly #assumed = new Set<string>();

  constructor(below: LowerLayers, hasLower: boolean, isAhead: boolean, parents: ParentMaker) {
    this.#below = below;
    this.#parents = parents;
    this.#isAhead = isAhead;
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

  /** Whether a lower layer may show something in the directory `path`. @throws OutOfPlace */
  isMerged(path: string): boolean {
    this.settle();
    return this.#known.get(path) === true;
  }

  /** What a lower layer shows at `path`, whose parent is a known directory, unless it is a directory. */
  fileBelow(path: string): LowerFile | undefined {
    if (!this.isMerged(path.slice(0, path.lastIndexOf('/')))) return undefined;
    const entry = this.#lookup(path);
    return entry.kind === 'none' || entry.kind === 'other' || entry.kind === 'directory' ? undefined : entry;
  }

  /** Says that a directory or symlink went away. */
  forget(path: string): void {
    this.#resolved.clear();
    for (const known of this.#known.keys()) {
      if (known === path || known.startsWith(`${path}/`)) this.#known.delete(known);
    }
  }

  /** Asks what was put off. @throws OutOfPlace */
  settle(): void {
    for (const path of this.#assumed) {
      this.#assumed.delete(path);
      const lower = this.#ask(path);
      if (lower.kind === 'symlink') throw new OutOfPlace(`a layer below has a symlink at ${displayPath(path)}`);
      // Something else may stand here by now.
      if (!this.#known.has(path)) continue;
      if (lower.kind === 'directory') this.#parents.found(path, lower);
      else this.seal(path);
    }
  }

  #lookup(path: string): LowerEntry {
    this.settle();
    return this.#ask(path);
  }

  /** The first answer comes when the layers below are there, the next ones without a wait. */
  #ask(path: string): LowerEntry {
    const entry = this.#below.lookup(path);
    this.#isAhead = false;
    return entry;
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
    const isMerged = stat === undefined && this.#known.get(parent) === true;
    if (isMerged && make && this.#isAhead && !path.includes('/.wh.')) {
      this.#assumed.add(path);
      this.#parents.make(path, undefined, 'nothing');
      this.#known.set(path, true);
      return 'directory';
    }
    const lower = isMerged ? this.#lookup(path) : undefined;
    if (lower?.kind === 'symlink') return { target: lower.target };
    if (lower?.kind !== 'directory' && !make) return undefined;
    if (path.includes('/.wh.') && path !== `/${AUFS_LINKS}`) {
      throw notDirectory(path, 'names that begin with ".wh." are for whiteouts');
    }
    this.#parents.make(
      path,
      lower?.kind === 'directory' ? lower : undefined,
      stat === undefined ? 'nothing' : 'whiteout',
    );
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
