import { BerthError } from '#common/errors.ts';

/** What an entry makes of the file system. */
export type TarKind = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/**
 * One member of a tar archive, extensions applied. Names are byte strings (one UTF-16 unit per byte), since tar knows no
 * encoding; see byte-path.ts.
 */
export interface TarEntry {
  readonly kind: TarKind;
  readonly name: string;
  /** Target of a hard link or symlink, else empty. */
  readonly linkName: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of the file, holes included; 0 for anything but a file. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Nanoseconds since the epoch; the modification time when the archive has none. */
  readonly atime: bigint;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** The fields of a 512-byte header as they stand there. */
export interface RawHeader {
  readonly type: string;
  name: string;
  linkName: string;
  readonly mode: number;
  uid: number;
  gid: number;
  size: number;
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

export const BLOCK = 512;

/** Larger than any file system takes, smaller than a double's exact integers. */
const MAX_SIZE = 2 ** 44;

export function malformed(message: string): BerthError {
  return new BerthError('invalid_argument', `malformed tar archive: ${message}`);
}

/** Sizes beyond what a file system can hold come from damaged or hostile archives. */
export function checkSize(size: number, name: string): number {
  if (!Number.isSafeInteger(size) || size < 0 || size > MAX_SIZE) {
    throw malformed(`entry "${name}" claims a size of ${size} bytes`);
  }
  return size;
}

/**
 * Reads a header block: POSIX.1-1988 ustar, its GNU and star relatives, and the v7 format before them.
 * @throws invalid_argument when the checksum or a number is wrong.
 */
export function parseHeader(block: Buffer): RawHeader {
  verifyChecksum(block);
  let name = headerText(block, 0, 100);
  const magic = block.toString('latin1', 257, 265);
  if (magic.startsWith('ustar\0')) {
    const star = block.toString('latin1', 508, 512) === 'tar\0';
    const prefix = headerText(block, 345, star ? 131 : 155);
    if (prefix !== '') name = `${prefix}/${name}`;
  }
  const devices = magic.startsWith('ustar');
  return {
    type: String.fromCharCode(block[156] ?? 0),
    name,
    linkName: headerText(block, 157, 100),
    mode: headerNumber(block, 100, 8, 'mode') & 0o7777,
    uid: headerNumber(block, 108, 8, 'uid'),
    gid: headerNumber(block, 116, 8, 'gid'),
    size: checkSize(headerNumber(block, 124, 12, 'size'), name),
    mtime: headerNumber(block, 136, 12, 'mtime'),
    major: devices ? headerNumber(block, 329, 8, 'device major') : 0,
    minor: devices ? headerNumber(block, 337, 8, 'device minor') : 0,
  };
}

export function isZeroBlock(block: Buffer): boolean {
  if (block[0] !== 0 || block[148] !== 0) return false;
  return block.every((byte) => byte === 0);
}

function verifyChecksum(block: Buffer): void {
  const stored = headerNumber(block, 148, 8, 'checksum');
  let unsigned = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    unsigned += block[i] as number;
  }
  if (stored === unsigned) return;
  // Some old tars summed signed characters.
  let signed = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) {
    if (i === 148) i = 156;
    signed += ((block[i] as number) << 24) >> 24;
  }
  if (stored !== signed) throw malformed('a header checksum is wrong');
}

/** Up to the first NUL, as a byte string. */
export function headerText(block: Buffer, start: number, length: number): string {
  let end = start;
  while (end < start + length && block[end] !== 0) end++;
  return block.toString('latin1', start, end);
}

/** Octal digits among blanks and NULs, none of them for 0, or base 256 when the first bit is set (GNU and star). */
export function headerNumber(block: Buffer, start: number, length: number, what: string): number {
  const first = block[start] as number;
  if ((first & 0x80) !== 0) return base256(block, start, length, what);
  let value = 0;
  let at = start;
  const end = start + length;
  while (at < end && (block[at] === 0x20 || block[at] === 0)) at++;
  for (; at < end; at++) {
    const byte = block[at] as number;
    if (byte === 0 || byte === 0x20) break;
    if (byte < 0x30 || byte > 0x37) throw malformed(`${what} is not a number`);
    value = value * 8 + (byte - 0x30);
  }
  return value;
}

function base256(block: Buffer, start: number, length: number, what: string): number {
  const negative = ((block[start] as number) & 0x40) !== 0;
  let value = BigInt((block[start] as number) & 0x7f);
  for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[start + i] as number);
  if (negative) value -= 1n << BigInt(length * 8 - 1);
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw malformed(`${what} is out of range`);
  return result;
}
