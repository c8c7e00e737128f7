import * as fs from 'node:fs';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, displayPath, fsPath } from '../unpack/byte-path.ts';
import { deviceNumber } from '../unpack/device-number.ts';
import type { Change } from './change.ts';
import { statOf, xattrsOf } from './layer-files.ts';
import { ARCHIVE_END, type MemberKind, memberHeader, padding } from './tar-member.ts';
import { openFile } from './tree-changes.ts';

type Entry = Extract<Change, { kind: 'entry' }>;

const PIECE = 256 * 1024;
const EPOCH = 0n;

/**
 * Writes changes as a layer (OCI image-spec layer.md): the archive comes in pieces, and no more of it is held than one.
 * Times later than `notAfter` (nanoseconds since the epoch) become that. Whiteouts have the time 0, as containerd's.
 */
export class LayerArchive {
  readonly #root: string;
  readonly #notAfter: bigint | undefined;
  /** Directories around the last member that are in the archive already. */
  #around: string[] = [];
  /** Names under which files with several links are in the archive, by inode. */
  readonly #written = new Map<string, string>();
  /** Unchanged links, to be written should their file come under another name. */
  readonly #unchanged = new Map<string, Entry[]>();

  /** @param root where the upper tree is, as this process sees it */
  constructor(root: string, notAfter: bigint | undefined) {
    this.#root = root;
    this.#notAfter = notAfter;
  }

  /** @throws aborted when a file shrinks while it is read. */
  *write(change: Change): Generator<Buffer> {
    if (change.kind === 'entry') yield* this.#entry(change);
    else yield* this.#marker(change.kind === 'opaque' ? `${change.path}/.wh..wh..opq` : whiteoutOf(change.path));
  }

  end(): Buffer {
    return ARCHIVE_END;
  }

  *#marker(path: string): Generator<Buffer> {
    yield* this.#parents(path);
    yield memberHeader({ kind: 'file', name: path.slice(1), mode: 0, uid: 0, gid: 0, mtime: EPOCH });
  }

  *#entry(entry: Entry): Generator<Buffer> {
    const { path, stat, unchanged = false } = entry;
    if (stat.isDirectory()) {
      yield* this.#directory(entry);
      return;
    }
    const inode = stat.nlink > 1n ? `${stat.dev}:${stat.ino}` : undefined;
    const source = inode === undefined ? undefined : this.#written.get(inode);
    if (source !== undefined) {
      yield* this.#link(entry, source);
      return;
    }
    if (unchanged) {
      if (inode !== undefined) this.#unchanged.set(inode, [...(this.#unchanged.get(inode) ?? []), entry]);
      return;
    }
    const pieces = stat.isFile() ? this.#file(entry) : this.#special(entry);
    let written = false;
    for (const piece of pieces) {
      written = true;
      yield piece;
    }
    if (!written || inode === undefined) return;
    this.#written.set(inode, path);
    for (const earlier of this.#unchanged.get(inode) ?? []) yield* this.#link(earlier, path);
    this.#unchanged.delete(inode);
  }

  *#directory({ path, stat, xattrs }: Entry): Generator<Buffer> {
    yield* this.#parents(path);
    yield memberHeader({ kind: 'directory', name: `${path.slice(1)}/`, ...this.#facts(stat), xattrs: xattrs.carried });
    this.#around.push(path);
  }

  /** Nothing when the file has gone meanwhile. */
  *#file({ path, xattrs }: Entry): Generator<Buffer> {
    const fd = openIfThere(this.#root + path);
    if (fd === undefined) return;
    try {
      const stat = fs.fstatSync(fd, { bigint: true });
      if (!stat.isFile()) return;
      const size = Number(stat.size);
      yield* this.#parents(path);
      const facts = this.#facts(stat);
      yield memberHeader({ kind: 'file', name: path.slice(1), ...facts, size, xattrs: xattrs.carried });
      for (let at = 0; at < size; ) {
        const piece = Buffer.allocUnsafe(Math.min(PIECE, size - at));
        const length = fs.readSync(fd, piece);
        if (length === 0) throw new BerthError('aborted', `${displayPath(path)} has shrunk while it was read`);
        yield piece.subarray(0, length);
        at += length;
      }
      yield padding(size);
    } finally {
      fs.closeSync(fd);
    }
  }

  *#special({ path, stat, xattrs }: Entry): Generator<Buffer> {
    const kind = kindOf(stat);
    if (kind === undefined) return;
    yield* this.#parents(path);
    const name = path.slice(1);
    const linkName =
      kind === 'symlink' ? byteString(fs.readlinkSync(fsPath(this.#root + path), { encoding: 'buffer' })) : '';
    yield memberHeader({ kind, name, linkName, ...this.#facts(stat), ...deviceNumber(stat), xattrs: xattrs.carried });
  }

  *#link({ path, stat }: Entry, source: string): Generator<Buffer> {
    yield* this.#parents(path);
    yield memberHeader({ kind: 'hardlink', name: path.slice(1), linkName: source.slice(1), ...this.#facts(stat) });
  }

  /** A member's directories come before it, with what they are in the upper tree. */
  *#parents(path: string): Generator<Buffer> {
    const parts = path.split('/').slice(1, -1);
    const wanted = parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`);
    let known = 0;
    while (known < wanted.length && wanted[known] === this.#around[known]) known++;
    this.#around = wanted.slice(0, known);
    for (const directory of wanted.slice(known)) {
      const stat = statOf(this.#root + directory);
      if (stat?.isDirectory()) {
        const xattrs = xattrsOf(this.#root + directory).carried;
        yield memberHeader({ kind: 'directory', name: `${directory.slice(1)}/`, ...this.#facts(stat), xattrs });
      }
      this.#around.push(directory);
    }
  }

  #facts({ mode, uid, gid, mtimeNs }: fs.BigIntStats) {
    const mtime = this.#notAfter !== undefined && mtimeNs > this.#notAfter ? this.#notAfter : mtimeNs;
    return { mode: Number(mode & 0o7777n), uid: Number(uid), gid: Number(gid), mtime };
  }
}

function whiteoutOf(path: string): string {
  const at = path.lastIndexOf('/') + 1;
  return `${path.slice(0, at)}.wh.${path.slice(at)}`;
}

function openIfThere(path: string): number | undefined {
  try {
    return openFile(path);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return undefined;
    throw error;
  }
}

function kindOf(stat: fs.BigIntStats): MemberKind | undefined {
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isCharacterDevice()) return 'char';
  return stat.isBlockDevice() ? 'block' : undefined;
}
