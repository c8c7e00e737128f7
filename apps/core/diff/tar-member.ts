/** What kind of member a header describes; `whiteout` markers are files. */
export type MemberKind = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** A member to be written. Names are byte strings without a slash in front; a directory's ends in one. */
export interface TarMember {
  readonly kind: MemberKind;
  readonly name: string;
  /** Of hard links and symlinks. */
  readonly linkName?: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file's data. */
  readonly size?: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: readonly (readonly [string, Buffer])[];
}

const BLOCK = 512;
const NAME_LENGTH = 100;
const MAX_ID = 0o7777777;
const MAX_OCTAL_12 = 0o77777777777;
const nsPerSecond = 1_000_000_000n;

const TYPES: Readonly<Record<MemberKind, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** What an archive ends with. */
export const ARCHIVE_END: Buffer = Buffer.alloc(2 * BLOCK);

/**
 * The header of a member: ustar, with a pax extended header in front where ustar can't hold it all (long names, big
 * numbers, fractions of seconds, extended attributes). POSIX.1-2001 pax; attributes as star and GNU tar write them.
 */
export function memberHeader(member: TarMember): Buffer {
  const { name, linkName = '', mode, uid, gid, size = 0, mtime } = member;
  const seconds = floorSeconds(mtime);
  const records: Buffer[] = [];
  const extend = (key: string, value: string | Buffer) => records.push(paxRecord(key, value));
  if (name.length > NAME_LENGTH) extend('path', name);
  if (linkName.length > NAME_LENGTH) extend('linkpath', linkName);
  if (uid > MAX_ID) extend('uid', String(uid));
  if (gid > MAX_ID) extend('gid', String(gid));
  if (size > MAX_OCTAL_12) extend('size', String(size));
  if (mtime % nsPerSecond !== 0n || seconds < 0 || seconds > MAX_OCTAL_12) extend('mtime', paxTime(mtime));
  for (const [key, value] of member.xattrs ?? []) extend(`SCHILY.xattr.${key}`, value);

  const block = ustarBlock(TYPES[member.kind], name, linkName);
  octal(block, mode, 100, 8);
  octal(block, Math.min(uid, MAX_ID), 108, 8);
  octal(block, Math.min(gid, MAX_ID), 116, 8);
  octal(block, Math.min(size, MAX_OCTAL_12), 124, 12);
  octal(block, Math.min(Math.max(seconds, 0), MAX_OCTAL_12), 136, 12);
  octal(block, member.major ?? 0, 329, 8);
  octal(block, member.minor ?? 0, 337, 8);
  checksum(block);
  return records.length === 0 ? block : Buffer.concat([...extension(name, records), block]);
}

/** Zeros from the end of a member's data to the next block. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

function extension(name: string, records: readonly Buffer[]): Buffer[] {
  const data = Buffer.concat(records);
  // The name is for readers that don't know pax, and take it for a file.
  const base = name.replace(/\/$/, '').split('/').pop() ?? '';
  const block = ustarBlock('x', `PaxHeaders.0/${base}`, '');
  octal(block, 0o644, 100, 8);
  octal(block, 0, 108, 8);
  octal(block, 0, 116, 8);
  octal(block, data.length, 124, 12);
  octal(block, 0, 136, 12);
  checksum(block);
  return [block, data, padding(data.length)];
}

function ustarBlock(type: string, name: string, linkName: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, NAME_LENGTH, 'latin1');
  block.write(type, 156, 'latin1');
  block.write(linkName, 157, NAME_LENGTH, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  return block;
}

function octal(block: Buffer, value: number, at: number, length: number): void {
  block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
}

/** The sum of all bytes with the sum's own field as blanks. */
function checksum(block: Buffer): void {
  block.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function paxRecord(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([
    Buffer.from(` ${key}=`),
    typeof value === 'string' ? Buffer.from(value, 'latin1') : value,
    Buffer.from('\n'),
  ]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function floorSeconds(ns: bigint): number {
  const down = ns < 0n && ns % nsPerSecond !== 0n ? 1n : 0n;
  return Number(ns / nsPerSecond - down);
}

function paxTime(ns: bigint): string {
  const sign = ns < 0n ? '-' : '';
  const size = ns < 0n ? -ns : ns;
  const fraction = (size % nsPerSecond).toString().padStart(9, '0').replace(/0+$/, '');
  return `${sign}${size / nsPerSecond}${fraction === '' ? '' : `.${fraction}`}`;
}
