import type { PaxRecords } from './pax.ts';
import { BLOCK, checkSize, headerNumber, headerText, malformed, type RawHeader } from './tar-header.ts';
import type { TarEvent } from './tar-reader.ts';

/** A stretch of a sparse file that has data; the rest of the file reads as zeros. Bytes. */
interface Stretch {
  readonly offset: number;
  readonly length: number;
}

/** What an archive says of a file with holes. */
export interface SparseFile {
  /** Undefined when the file's data begin with the map. */
  readonly map: readonly Stretch[] | undefined;
  /** With the holes. */
  readonly size: number;
  readonly name: string | undefined;
}

/** As much as an extension header may hold. */
const MAX_MAP = 1024 * 1024;

const OLD_STRETCHES = 4;
const MORE_STRETCHES = 21;
const STRETCH = 24;

/**
 * The map of a sparse file in GNU tar's old format: a part in the header of type `S`, more in blocks behind it. Layout:
 * "struct oldgnu_header" and "struct sparse_header" of GNU tar's manual.
 */
export class OldSparseMap {
  readonly raw: RawHeader;
  readonly #stretches: Stretch[] = [];
  readonly #size: number;
  #blocks = 0;
  #isComplete: boolean;

  constructor(raw: RawHeader, block: Buffer) {
    this.raw = raw;
    if (headerText(block, 257, 8) !== 'ustar  ') throw malformed(`entry "${raw.name}" is sparse, but not of GNU tar`);
    this.#size = checkSize(headerNumber(block, 483, 12, 'size of a sparse file'), raw.name);
    this.#isComplete = !this.#add(block, 386, OLD_STRETCHES, 482);
  }

  /** False while the next block continues the map. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  extend(block: Buffer): void {
    if (++this.#blocks * BLOCK > MAX_MAP) throw tooLong(this.raw.name);
    this.#isComplete = !this.#add(block, 0, MORE_STRETCHES, 504);
  }

  file(): SparseFile {
    return { map: this.#stretches, size: this.#size, name: undefined };
  }

  /** Answers whether more follow. */
  #add(block: Buffer, start: number, count: number, flag: number): boolean {
    for (let at = start; at < start + count * STRETCH; at += STRETCH) {
      if (block[at] === 0 || block[at + 12] === 0) break;
      this.#stretches.push({
        offset: headerNumber(block, at, 12, 'offset of a sparse file'),
        length: headerNumber(block, at + 12, 12, 'length of a sparse file'),
      });
    }
    return block[flag] === 1;
  }
}

/**
 * What the records of a pax header say of holes, in GNU's formats 0.0, 0.1 and 1.0; undefined for a plain file.
 * @throws invalid_argument for another format or a wrong map.
 */
export function paxSparse(pax: PaxRecords, name: string): SparseFile | undefined {
  const record = (key: string): string | undefined => pax.get(`GNU.sparse.${key}`)?.toString('latin1');
  const version = `${record('major') ?? ''}.${record('minor') ?? ''}`;
  const map = record('map');
  const isOld = version === '0.0' || version === '0.1' || (version === '.' && map !== undefined);
  if (!isOld && version === '.') return undefined;
  if (!isOld && version !== '1.0') throw malformed(`entry "${name}" is sparse in the unknown format ${version}`);
  const size = checkSize(decimal(record('size') ?? record('realsize'), name), name);
  if (!isOld) return { map: undefined, size, name: record('name') };
  const numbers = map === undefined ? [] : map.split(',').map((digits) => decimal(digits, name));
  return { map: stretches(numbers, name), size, name: record('name') };
}

/** Puts the data of a sparse file in their places, and says what is between them. */
export class SparseData {
  readonly #name: string;
  readonly #size: number;
  #map: readonly Stretch[] | undefined;
  /** The map's text while it is read. */
  #text = '';
  #seen = 0;
  #lines = 0;
  #count: number | undefined;
  readonly #stored: number;
  /** Bytes of the file that are told. */
  #at = 0;
  #next = 0;
  /** Bytes of the stretch that is being told still to come. */
  #left = 0;

  /** @param stored bytes of the file in the archive */
  constructor({ map, size, name }: SparseFile, stored: number) {
    this.#name = name ?? '';
    this.#size = size;
    this.#stored = stored;
    if (map !== undefined) this.#begin(map, stored);
  }

  *push(piece: Buffer): Generator<TarEvent, void, void> {
    let at = this.#map === undefined ? this.#readMap(piece) : 0;
    while (at < piece.length) {
      if (this.#left === 0) yield* this.#hole();
      const data = piece.subarray(at, at + Math.min(this.#left, piece.length - at));
      at += data.length;
      this.#at += data.length;
      this.#left -= data.length;
      yield { type: 'data', data };
    }
  }

  /** The hole at the end of the file. */
  *end(): Generator<TarEvent, void, void> {
    if (this.#map === undefined) throw malformed(`the map of the sparse file "${this.#name}" is truncated`);
    if (this.#size > this.#at) yield { type: 'hole', length: this.#size - this.#at };
  }

  /** Goes on to the next stretch with data. */
  *#hole(): Generator<TarEvent, void, void> {
    while (this.#left === 0) {
      const { offset, length } = (this.#map as readonly Stretch[])[this.#next++] as Stretch;
      if (offset > this.#at) yield { type: 'hole', length: offset - this.#at };
      this.#at = offset;
      this.#left = length;
    }
  }

  /** Format 1.0: decimal lines, the number of stretches first, filled up to a block. Answers the bytes that were its. */
  #readMap(piece: Buffer): number {
    for (let at = 0; at < piece.length; ) {
      // Blocks may come in parts; the map's last one ends where a block does.
      const end = Math.min(piece.length, at + BLOCK - (this.#text.length % BLOCK));
      this.#text += piece.toString('latin1', at, end);
      at = end;
      if (this.#text.length > MAX_MAP) throw tooLong(this.#name);
      if (this.#text.length % BLOCK > 0 || !this.#hasWholeMap()) continue;
      const [, ...lines] = this.#text.split('\n');
      const numbers = lines.slice(0, 2 * (this.#count ?? 0)).map((digits) => decimal(digits, this.#name));
      this.#begin(stretches(numbers, this.#name), this.#stored - this.#text.length);
      return at;
    }
    return piece.length;
  }

  /** Looks at each byte of the map once. */
  #hasWholeMap(): boolean {
    for (;;) {
      const end = this.#text.indexOf('\n', this.#seen);
      if (end < 0) break;
      this.#count ??= decimal(this.#text.slice(0, end), this.#name);
      this.#lines++;
      this.#seen = end + 1;
    }
    return this.#count !== undefined && this.#lines > 2 * this.#count;
  }

  #begin(map: readonly Stretch[], stored: number): void {
    let at = 0;
    let total = 0;
    for (const { offset, length } of map) {
      checkSize(offset, this.#name);
      checkSize(length, this.#name);
      if (offset < at || offset + length > this.#size) {
        throw malformed(`the map of the sparse file "${this.#name}" doesn't fit its size of ${this.#size} bytes`);
      }
      at = offset + length;
      total += length;
    }
    if (total !== stored) {
      const message = `the sparse file "${this.#name}" has ${stored} bytes of data, its map ${total}`;
      throw malformed(message);
    }
    this.#map = map;
  }
}

function stretches(numbers: readonly number[], name: string): Stretch[] {
  if (numbers.length % 2 > 0) throw malformed(`the map of the sparse file "${name}" lacks a number`);
  return Array.from({ length: numbers.length / 2 }, (_, index) => ({
    offset: numbers[2 * index] as number,
    length: numbers[2 * index + 1] as number,
  }));
}

function decimal(digits: string | undefined, name: string): number {
  if (digits === undefined || !/^[0-9]{1,15}$/.test(digits)) {
    throw malformed(`the map or size of the sparse file "${name}" is not a number`);
  }
  return Number(digits);
}

function tooLong(name: string): Error {
  return malformed(`the map of the sparse file "${name}" has more than ${MAX_MAP} bytes`);
}
