import { type PaxRecords, paxNumber, paxTime, paxXattrs, readPaxRecords } from './pax.ts';
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

/** `data` follows its `entry`, as often as needed; `end` closes every entry, also one without data. */
export type TarEvent =
  | { readonly type: 'entry'; readonly entry: TarEntry }
  | { readonly type: 'data'; readonly data: Buffer }
  | { readonly type: 'end' };

const END = { type: 'end' } as const;

/** Extension headers larger than this hold no name that a file system takes. */
const MAX_EXTENSION = 1024 * 1024;

const NO_XATTRS: ReadonlyMap<string, Buffer> = new Map();

const KINDS: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
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
        if (this.#extension === undefined) yield { type: 'data', data: piece };
        else this.#extension.filled += piece.copy(this.#extension.data, this.#extension.filled);
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
    const expectsMore = this.#data > 0 || this.#filled > 0 || this.#locals !== undefined;
    if (expectsMore || this.#longName !== undefined || this.#longLink !== undefined) {
      throw malformed('it is truncated');
    }
  }

  *#header(block: Buffer): Generator<TarEvent, void, void> {
    if (isZeroBlock(block)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks > 0) throw malformed('data follows the end mark');
    const raw = parseHeader(block);
    if (raw.type === 'x' || raw.type === 'g' || raw.type === 'L' || raw.type === 'K') {
      if (raw.size > MAX_EXTENSION) throw malformed(`an extension header has ${raw.size} bytes`);
      this.#extension = { type: raw.type, data: Buffer.allocUnsafe(raw.size), filled: 0 };
      this.#expect(raw.size);
      if (raw.size === 0) yield* this.#finish();
      return;
    }
    const entry = this.#entry(raw);
    this.#inEntry = true;
    // Links and special files may carry a size; only regular files have data behind it.
    this.#expect(entry.size);
    yield { type: 'entry', entry };
    if (entry.size === 0) yield* this.#finish();
  }

  #expect(size: number): void {
    this.#data = size;
    this.#padding = (BLOCK - (size % BLOCK)) % BLOCK;
  }

  *#finish(): Generator<TarEvent, void, void> {
    if (this.#inEntry) {
      this.#inEntry = false;
      yield END;
      return;
    }
    const extension = this.#extension;
    this.#extension = undefined;
    if (extension?.type === 'x') {
      this.#locals = new Map();
      readPaxRecords(extension.data, this.#locals);
    } else if (extension?.type === 'g') readPaxRecords(extension.data, this.#globals);
    else if (extension?.type === 'L') this.#longName = untilNul(extension.data);
    else if (extension?.type === 'K') this.#longLink = untilNul(extension.data);
  }

  #entry(raw: RawHeader): TarEntry {
    const pax = this.#paxRecords();
    let mtime = BigInt(raw.mtime) * 1_000_000_000n;
    let atime: bigint | undefined;
    let xattrs = NO_XATTRS;
    if (this.#longName !== undefined) raw.name = this.#longName;
    if (this.#longLink !== undefined) raw.linkName = this.#longLink;
    this.#longName = this.#longLink = this.#locals = undefined;
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
    const kind = memberKind(raw, pax);
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
      size: kind === 'file' ? raw.size : 0,
      mtime,
      atime: atime ?? mtime,
      major: raw.major,
      minor: raw.minor,
      xattrs,
    };
  }

  #paxRecords(): PaxRecords | undefined {
    if (this.#globals.size === 0) return this.#locals;
    return new Map([...this.#globals, ...(this.#locals ?? [])]);
  }
}

function memberKind(raw: RawHeader, pax: PaxRecords | undefined): TarKind {
  if (raw.type === 'S' || pax?.has('GNU.sparse.map') || pax?.has('GNU.sparse.major') || pax?.has('GNU.sparse.size')) {
    throw malformed(`entry "${raw.name}" is a GNU sparse file, which layers can't hold`);
  }
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
