import * as fs from 'node:fs';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, components, displayPath, fsPath } from './byte-path.ts';
import { AUFS_LINKS, DirectoryTree, isWhiteout, lstat, OutOfPlace } from './directory-tree.ts';
import { isOverlayXattr, makeNode, pruneXattrs, setTimes, setXattr } from './file-attributes.ts';
import { COPY_PATH, type LowerAttributes, type LowerDirectory, type LowerFile, type LowerLayers } from './lower.ts';
import { malformed, type TarEntry } from './tar-header.ts';
import type { TarEvent } from './tar-reader.ts';

/**
 * How removals are written: `overlay` as overlayfs reads them in an upper directory (`xattr` is where it keeps its
 * notes), `remove` by removing what a plain directory held before.
 */
export type Whiteouts =
  | { readonly style: 'overlay'; readonly xattr: 'trusted' | 'user' }
  | { readonly style: 'remove' };

const { O_WRONLY, O_CREAT, O_EXCL, S_IFCHR, S_IFBLK, S_IFIFO } = fs.constants;

/** What a file system answers to names, links and attributes that it can't hold: the archive's fault, not the node's. */
const IMPOSSIBLE = ['ENAMETOOLONG', 'ELOOP', 'EMLINK', 'ERANGE', 'E2BIG', 'EINVAL', 'EOVERFLOW', 'EFBIG'];

/**
 * Applies the entries of a layer to the root directory of this process, which is meant to be the layer's own (chroot):
 * no name and no symlink of the archive reaches beyond it. Calls block.
 * Rules: OCI image-spec layer.md, "Applying Changesets".
 */
export class LayerWriter {
  readonly #whiteouts: Whiteouts;
  readonly #below: LowerLayers;
  readonly #tree: DirectoryTree;
  /** What this layer wrote, kept only when the root held something before: whiteouts don't touch it. */
  readonly #written: Set<string> | undefined;
  /** Directories' times, set last because every file made in them changes them. */
  readonly #times = new Map<string, readonly [bigint, bigint]>();
  #file:
    | { readonly fd: number; readonly path: string; readonly entry: TarEntry; at: number; isSparse: boolean }
    | undefined;
  #entry: TarEntry | undefined;
  #hasAufsLinks = false;

  /** @param isAhead whether the layers below may not be there yet, so that each question about them waits. */
  constructor(whiteouts: Whiteouts, below: LowerLayers, isAhead: boolean) {
    this.#below = below;
    this.#whiteouts = whiteouts;
    this.#written = fs.readdirSync('/').length > 0 ? new Set() : undefined;
    this.#tree = new DirectoryTree(below, whiteouts.style === 'overlay', isAhead, {
      make: (path, lower, replaces) => this.#makeParent(path, lower, replaces),
      found: (path, lower) => {
        // What the archive says of it itself counts more.
        if (!this.#times.has(path)) this.#likeLower(path, lower);
      },
    });
  }

  /** @throws BerthError that names the entry; OutOfPlace */
  handle(event: TarEvent): void {
    try {
      if (event.type === 'data') this.#data(event.data);
      else if (event.type === 'hole') this.#hole(event.length);
      else if (event.type === 'end') this.#end();
      else {
        this.#entry = event.entry;
        this.#begin(event.entry);
      }
    } catch (error) {
      if (error instanceof OutOfPlace) throw error;
      const impossible = hasErrno(error, ...IMPOSSIBLE);
      // What can't be in one place may well be in another.
      if (impossible || isCode(error, 'invalid_argument')) this.#tree.settle();
      const context = `layer entry "${displayPath(this.#entry?.name ?? '')}"`;
      if (!impossible) throw BerthError.from(error, context);
      throw new BerthError('invalid_argument', `${context}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Whether the layer describes its own root directory. */
  get hasRoot(): boolean {
    return this.#times.has('/');
  }

  /** Asks what was put off, and sets the directories' times, the inner ones first. @throws OutOfPlace */
  finish(): void {
    this.#tree.settle();
    if (this.#hasAufsLinks && lstat(`/${AUFS_LINKS}`) !== undefined) this.#remove(`/${AUFS_LINKS}`);
    const paths = [...this.#times].sort(([a], [b]) => (a < b ? 1 : -1));
    for (const [path, [atime, mtime]] of paths) setTimes(path, atime, mtime);
  }

  /** Removes all that was written. */
  discard(): void {
    if (this.#file !== undefined) fs.closeSync(this.#file.fd);
    for (const path of children('/')) this.#remove(path);
  }

  #begin(entry: TarEntry): void {
    const parts = components(entry.name);
    const base = parts.pop();
    if (base === undefined) {
      if (entry.kind === 'directory') this.#describe('/', entry, true);
      return;
    }
    // What aufs kept for itself is nobody's any more; hard links of this layer may stand for the files that it kept once.
    if (parts[0] === AUFS_LINKS) this.#hasAufsLinks = true;
    else if (parts.some((part) => part.startsWith('.wh..wh.'))) return;
    if (base.startsWith('.wh.')) {
      this.#whiteout(parts, base);
      return;
    }
    const parent = this.#tree.directory(parts);
    const path = `${parent}/${base}`;
    if (entry.kind === 'hardlink') this.#link(path, entry);
    else if (entry.kind === 'directory') this.#directory(path, entry);
    else if (entry.kind === 'file') {
      const fd = this.#create(path, () => fs.openSync(fsPath(path), O_WRONLY | O_CREAT | O_EXCL, 0o600));
      this.#file = { fd, path, entry, at: 0, isSparse: false };
    } else this.#special(path, entry);
    this.#written?.add(path);
  }

  #data(data: Buffer): void {
    const file = this.#file;
    if (file === undefined) return;
    for (let at = 0; at < data.length; ) {
      const written = fs.writeSync(file.fd, data, at, data.length - at, file.at);
      at += written;
      file.at += written;
    }
  }

  #hole(length: number): void {
    if (this.#file === undefined) return;
    this.#file.at += length;
    this.#file.isSparse = true;
  }

  #end(): void {
    if (this.#file === undefined) return;
    const { fd, path, entry, at, isSparse } = this.#file;
    this.#file = undefined;
    try {
      if (isSparse) fs.ftruncateSync(fd, at);
      // A change of owner drops setuid bits and capabilities, so it comes first.
      fs.fchownSync(fd, entry.uid, entry.gid);
      this.#xattrs(path, entry.xattrs);
      fs.fchmodSync(fd, entry.mode);
    } finally {
      fs.closeSync(fd);
    }
    setTimes(path, entry.atime, entry.mtime);
  }

  #directory(path: string, entry: TarEntry): void {
    this.#describe(path, entry, this.#ensureDirectory(path));
  }

  #describe(directory: string, entry: TarEntry, wasThere: boolean): void {
    if (wasThere) pruneXattrs(directory, entry.xattrs);
    fs.lchownSync(fsPath(directory), entry.uid, entry.gid);
    this.#xattrs(directory, entry.xattrs);
    fs.chmodSync(fsPath(directory), entry.mode);
    this.#times.set(directory, [entry.atime, entry.mtime]);
  }

  /** Answers whether it was there. */
  #ensureDirectory(path: string): boolean {
    try {
      fs.mkdirSync(fsPath(path), 0o700);
      this.#tree.add(path, true);
      return false;
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
    if (lstat(path)?.isDirectory()) return true;
    this.#remove(path);
    fs.mkdirSync(fsPath(path), 0o700);
    // What stood here hid anything below; the directory in its place must not show it again.
    this.#tree.add(path, true);
    this.#seal(path);
    return false;
  }

  #special(path: string, entry: TarEntry): void {
    if (entry.kind === 'symlink' && entry.linkName === '') {
      throw new BerthError('invalid_argument', 'it is a symlink to nothing');
    }
    this.#create(path, () => {
      if (entry.kind === 'symlink') fs.symlinkSync(fsPath(entry.linkName), fsPath(path));
      else if (entry.kind === 'fifo') makeNode(path, S_IFIFO | 0o600, 0, 0);
      else makeNode(path, (entry.kind === 'char' ? S_IFCHR : S_IFBLK) | 0o600, entry.major, entry.minor);
    });
    fs.lchownSync(fsPath(path), entry.uid, entry.gid);
    this.#xattrs(path, entry.xattrs);
    if (entry.kind !== 'symlink') fs.chmodSync(fsPath(path), entry.mode);
    setTimes(path, entry.atime, entry.mtime);
  }

  #link(path: string, entry: TarEntry): void {
    const parts = components(entry.linkName);
    const base = parts.pop();
    const parent = base === undefined ? undefined : this.#tree.existing(parts);
    const target = `${parent}/${base}`;
    if (parent === undefined || !this.#hasFile(target)) {
      const name = displayPath(entry.linkName);
      throw new BerthError('invalid_argument', `it is a hard link to "${name}", which no layer so far holds`);
    }
    if (target === path) return;
    this.#create(path, () => fs.linkSync(fsPath(target), fsPath(path)));
  }

  /** Whether there is something to link to; what only a lower layer has is copied, as overlayfs does for link(2). */
  #hasFile(path: string): boolean {
    const stat = lstat(path);
    if (stat !== undefined) return !isWhiteout(stat) || this.#whiteouts.style === 'remove';
    const lower = this.#tree.fileBelow(path);
    if (lower !== undefined) this.#copyUp(path, lower);
    return lower !== undefined;
  }

  #copyUp(path: string, lower: LowerFile): void {
    if (lower.kind === 'file') {
      this.#below.copy(path);
      fs.renameSync(COPY_PATH, fsPath(path));
    } else if (lower.kind === 'symlink') fs.symlinkSync(fsPath(lower.target), fsPath(path));
    else if (lower.kind === 'fifo') makeNode(path, S_IFIFO | 0o600, 0, 0);
    else makeNode(path, (lower.kind === 'char' ? S_IFCHR : S_IFBLK) | 0o600, lower.major, lower.minor);
    this.#attributes(path, lower, lower.kind === 'symlink');
    setTimes(path, BigInt(lower.mtime), BigInt(lower.mtime));
  }

  /** Runs a call that makes `path`; when something is there already, it is replaced. */
  #create<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw error;
    }
    this.#remove(path);
    return make();
  }

  #xattrs(path: string, xattrs: ReadonlyMap<string, Buffer>): void {
    for (const [name, value] of xattrs) if (!isOverlayXattr(name)) setXattr(path, name, value);
  }

  #whiteout(parts: readonly string[], base: string): void {
    if (base === '.wh..wh..opq') {
      this.#opaque(parts);
      return;
    }
    // Other names of this form are aufs' own bookkeeping.
    if (base.startsWith('.wh..wh.')) return;
    const name = base.slice('.wh.'.length);
    if (name === '' || name === '.' || name === '..') throw malformed(`"${displayPath(base)}" is no whiteout`);
    const parent = this.#tree.existing(parts);
    if (parent === undefined) return;
    const path = `${parent}/${name}`;
    const stat = lstat(path);
    if (stat !== undefined && (this.#written?.has(path) ?? true)) {
      // A whiteout hides what lower layers have, never what its own layer brings.
      if (stat.isDirectory()) this.#seal(path);
      return;
    }
    if (stat !== undefined) this.#remove(path);
    if (this.#whiteouts.style === 'overlay' && this.#tree.isMerged(parent)) makeNode(path, S_IFCHR, 0, 0);
  }

  #opaque(parts: readonly string[]): void {
    const path = this.#tree.directory(parts);
    this.#seal(path);
    if (this.#written !== undefined) this.#removeEarlier(path === '' ? '/' : path, this.#written);
  }

  /** Keeps lower layers from showing through a directory. */
  #seal(path: string): void {
    if (this.#whiteouts.style !== 'overlay' || !this.#tree.isMerged(path)) return;
    setXattr(path === '' ? '/' : path, `${this.#whiteouts.xattr}.overlay.opaque`, Buffer.from('y'));
    this.#tree.seal(path);
  }

  #removeEarlier(directory: string, written: ReadonlySet<string>): void {
    for (const path of children(directory)) {
      if (!written.has(path)) this.#remove(path);
      else if (lstat(path)?.isDirectory()) this.#removeEarlier(path, written);
    }
  }

  #remove(path: string): void {
    const stat = lstat(path);
    if (stat?.isDirectory()) {
      removeTree(path);
      for (const known of this.#times.keys()) {
        if (known === path || known.startsWith(`${path}/`)) this.#times.delete(known);
      }
    } else fs.unlinkSync(fsPath(path));
    if (stat?.isDirectory() || stat?.isSymbolicLink()) this.#tree.forget(path);
  }

  #makeParent(path: string, lower: LowerDirectory | undefined, replaces: 'nothing' | 'whiteout'): void {
    if (replaces === 'whiteout') fs.unlinkSync(fsPath(path));
    fs.mkdirSync(fsPath(path), 0o755);
    this.#written?.add(path);
    if (replaces === 'whiteout' && this.#whiteouts.style === 'overlay') {
      setXattr(path, `${this.#whiteouts.xattr}.overlay.opaque`, Buffer.from('y'));
    }
    if (lower !== undefined) this.#likeLower(path, lower);
  }

  #likeLower(path: string, lower: LowerDirectory): void {
    this.#attributes(path, lower);
    this.#times.set(path, [BigInt(lower.mtime), BigInt(lower.mtime)]);
  }

  #attributes(path: string, { uid, gid, mode, xattrs }: LowerAttributes, isSymlink = false): void {
    fs.lchownSync(fsPath(path), uid, gid);
    for (const [name, value] of xattrs) setXattr(path, name, Buffer.from(value, 'base64'));
    if (!isSymlink) fs.chmodSync(fsPath(path), mode);
  }
}

function children(directory: string): string[] {
  const prefix = directory === '/' ? '' : directory;
  return fs.readdirSync(fsPath(directory), 'buffer').map((name) => `${prefix}/${byteString(name)}`);
}

/** Symlinks are removed, never followed. */
function removeTree(directory: string): void {
  for (const path of children(directory)) {
    if (lstat(path)?.isDirectory()) removeTree(path);
    else fs.unlinkSync(fsPath(path));
  }
  fs.rmdirSync(fsPath(directory));
}
