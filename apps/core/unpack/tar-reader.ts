import { type PaxRecords, paxNumber, paxTime, paxXattrs, readPaxRecords } from './pax.ts';
import { OldSparseMap, paxSparse, SparseData, type SparseFile } from './sparse.ts';
import {
  BLOCK,
  checkSize,
  isZeroBlock,
  malformed,
  parseHeader,
  type RawHeader,
  type TarEntry,
  type TarKind,
} from './tar-header.ts';

/**
 * `data` follows its `entry`, as often as needed; a `hole` stands for that many zeros; `end` closes every entry, also one
 * without data.
 */
export type TarEvent =
  | { readonly type: 'entry'; readonly entry: TarEntry }
  | { readonly type: 'data'; readonly data: Buffer }
  | { readonly type: 'hole'; readonly length: number }
  | { readonly type: 'end' };

const END = { type: 'end' } as const;

/** Extension headers larger than this hold no name that a file system takes. */
const MAX_EXTENSION = 1024 * 1024;

const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

/** What describes the next member, or all to come: pax, its form in Solaris, and GNU's long names. */
const EXTENSIONS = new Set(['x', 'X', 'g', 'L', 'K']);

const KINDS: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  S: 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/**
 * Reads a tar stream that is pushed in pieces of any size, and holds no more of it than one header. The consumer runs the
 * generator to its end before the next push, and may pause between events.
 */
export class TarReader {
  #block = Buffer.alloc(BLOCK);
  #filled = 0;
  /** Bytes of the current member's data still to come, and of the padding after them. */
  #data = 0;
  #padding = 0;
  #inEntry = false;
  #extension: { type: string; data: Buffer; filled: number } | undefined;
  #oldSparse: OldSparseMap | undefined;
  #sparse: SparseData | undefined;
  #zeroBlocks = 0;
  #globals: PaxRecords = new Map();
  #locals: PaxRecords | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;

  /** True behind the two zero blocks that end an archive; whatever follows is ignored. */
  get ended(): boolean {
    return this.#zeroBlocks === 2;
  }

  /** @throws invalid_argument for a malformed archive; unimplemented for a kind of member that isn't supported. */
  *push(chunk: Buffer): Generator<TarEvent, void, void> {
    let at = 0;
    while (at < chunk.length && !this.ended) {
      if (this.#data > 0) {
        const piece = chunk.subarray(at, at + Math.min(this.#data, chunk.length - at));
        at += piece.length;
        this.#data -= piece.length;
        if (this.#sparse !== undefined) yield* this.#sparse.push(piece);
        else if (this.#inEntry) yield { type: 'data', data: piece };
        else if (this.#extension !== undefined)
          this.#extension.filled += piece.copy(this.#extension.data, this.#extension.filled);
        if (this.#data === 0) yield* this.#finish();
      } else if (this.#padding > 0) {
        const skipped = Math.min(this.#padding, chunk.length - at);
        this.#padding -= skipped;
        at += skipped;
      } else if (this.#filled === 0 && chunk.length - at >= BLOCK) {
        yield* this.#header(chunk.subarray(at, at + BLOCK));
        at += BLOCK;
      } else {
        const copied = chunk.copy(this.#block, this.#filled, at, at + BLOCK - this.#filled);
        at += copied;
        this.#filled += copied;
        if (this.#filled === BLOCK) {
          this.#filled = 0;
          yield* this.#header(this.#block);
        }
      }
    }
  }

  /** Says that the stream is over. @throws invalid_argument when it stopped inside a member. */
  close(): void {
    if (this.ended) return;
    const expectsMore =
      this.#data > 0 || this.#filled > 0 || this.#locals !== undefined || this.#oldSparse !== undefined;
    if (expectsMore || this.#longName !== undefined || this.#longLink !== undefined) {
      throw malformed('it is truncated');
    }
  }

  *#header(block: Buffer): Generator<TarEvent, void, void> {
    if (this.#oldSparse !== undefined) {
      this.#oldSparse.extend(block);
      yield* this.#beginSparse(this.#oldSparse);
      return;
    }
    if (isZeroBlock(block)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks > 0) throw malformed('data follows the end mark');
    const raw = parseHeader(block);
    if (EXTENSIONS.has(raw.type)) {
      if (raw.size > MAX_EXTENSION) throw malformed(`an extension header has ${raw.size} bytes`);
      this.#extension = { type: raw.type, data: Buffer.allocUnsafe(raw.size), filled: 0 };
      this.#expect(raw.size);
      if (raw.size === 0) yield* this.#finish();
    } else if (raw.type === 'S') yield* this.#beginSparse(new OldSparseMap(raw, block));
    else if (raw.type === 'V') this.#forgetExtensions();
    else yield* this.#begin(raw, undefined);
  }

  *#beginSparse(map: OldSparseMap): Generator<TarEvent, void, void> {
    this.#oldSparse = map.isComplete ? undefined : map;
    if (map.isComplete) yield* this.#begin(map.raw, map.file());
  }

  *#begin(raw: RawHeader, oldSparse: SparseFile | undefined): Generator<TarEvent, void, void> {
    const { stored, sparse, ...entry } = this.#entry(raw, oldSparse);
    this.#inEntry = true;
    if (sparse !== undefined) this.#sparse = new SparseData({ ...sparse, name: entry.name }, stored);
    this.#expect(stored);
    yield { type: 'entry', entry };
    if (stored === 0) yield* this.#finish();
  }

  #expect(size: number): void {
    this.#data = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
  }

  *#finish(): Generator<TarEvent, void, void> {
    if (this.#inEntry) {
      if (this.#sparse !== undefined) yield* this.#sparse.end();
      this.#inEntry = false;
      this.#sparse = undefined;
      yield END;
      return;
    }
    const extension = this.#extension;
    this.#extension = undefined;
    if (extension?.type === 'x' || extension?.type === 'X') {
      this.#locals = new Map();
      readPaxRecords(extension.data, this.#locals);
    } else if (extension?.type === 'g') readPaxRecords(extension.data, this.#globals);
    else if (extension?.type === 'L') this.#longName = untilNul(extension.data);
    else if (extension?.type === 'K') this.#longLink = untilNul(extension.data);
  }

  #entry(
    raw: RawHeader,
    oldSparse: SparseFile | undefined,
  ): TarEntry & { readonly stored: number; readonly sparse: SparseFile | undefined } {
    const pax = this.#paxRecords();
    let mtime = BigInt(raw.mtime) * 1_000_000_000n;
    let atime: bigint | undefined;
    let xattrs = NO_XATTRS;
    if (this.#longName !== undefined) raw.name = this.#longName;
    if (this.#longLink !== undefined) raw.linkName = this.#longLink;
    this.#forgetExtensions();
    if (pax !== undefined) {
      raw.name = pax.get('path')?.toString('latin1') ?? raw.name;
      raw.linkName = pax.get('linkpath')?.toString('latin1') ?? raw.linkName;
      raw.uid = numeric(pax, 'uid') ?? raw.uid;
      raw.gid = numeric(pax, 'gid') ?? raw.gid;
      raw.size = checkSize(numeric(pax, 'size') ?? raw.size, raw.name);
      mtime = time(pax, 'mtime') ?? mtime;
      atime = time(pax, 'atime');
      xattrs = paxXattrs(pax);
    }
    const isRegular = KINDS[raw.type] === 'file';
    const sparse = oldSparse ?? (pax !== undefined && isRegular ? paxSparse(pax, raw.name) : undefined);
    if (sparse?.name !== undefined) raw.name = sparse.name;
    const kind = memberKind(raw);
    if (raw.uid < 0 || raw.gid < 0 || raw.uid > 0xfffffffe || raw.gid > 0xfffffffe) {
      throw malformed(`entry "${raw.name}" has the owner ${raw.uid}:${raw.gid}`);
    }
    return {
      kind,
      name: raw.name,
      linkName: kind === 'hardlink' || kind === 'symlink' ? raw.linkName : '',
      mode: raw.mode,
      uid: raw.uid,
      gid: raw.gid,
      size: kind === 'file' ? (sparse?.size ?? raw.size) : 0,
      mtime,
      atime: atime ?? mtime,
      major: raw.major,
      minor: raw.minor,
      xattrs,
      // Links and special files may carry a size; only what was archived as a file has data behind it.
      stored: isRegular ? raw.size : 0,
      sparse: kind === 'file' ? sparse : undefined,
    };
  }

  #forgetExtensions(): void {
    this.#longName = this.#longLink = this.#locals = undefined;
  }

  #paxRecords(): PaxRecords | undefined {
    if (this.#globals.size === 0) return this.#locals;
    return new Map([...this.#globals, ...(this.#locals ?? [])]);
  }
}

function memberKind(raw: RawHeader): TarKind {
  const kind = KINDS[raw.type];
  if (kind === undefined) throw malformed(`entry "${raw.name}" has the unknown type ${JSON.stringify(raw.type)}`);
  // Before ustar a directory was a file whose name ends in a slash.
  return kind === 'file' && raw.name.endsWith('/') ? 'directory' : kind;
}

function numeric(pax: PaxRecords, key: string): number | undefined {
  const value = pax.get(key);
  return value === undefined ? undefined : paxNumber(value, key);
}

function time(pax: PaxRecords, key: string): bigint | undefined {
  const value = pax.get(key);
  return value === undefined ? undefined : paxTime(value, key);
}

function untilNul(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end < 0 ? data.length : end);
}
