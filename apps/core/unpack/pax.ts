import { malformed } from './tar-header.ts';

/** Records of pax extended headers, the later ones over the earlier. Values are bytes. */
export type PaxRecords = Map<string, Buffer>;

/**
 * Adds the records of an extended header's data to `into`; an empty value takes a record away.
 * Format: POSIX.1-2001 pax, "%d %s=%s\n".
 */
export function readPaxRecords(data: Buffer, into: PaxRecords): void {
  const sparseMap: Buffer[] = [];
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    if (space < 0 || space - at > 10) throw malformed('a pax record has no length');
    const digits = data.toString('latin1', at, space);
    const length = Number(digits);
    const end = at + length;
    if (!/^[0-9]+$/.test(digits) || end > data.length || end <= space + 1 || data[end - 1] !== 0x0a) {
      throw malformed('a pax record has a wrong length');
    }
    const equals = data.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw malformed('a pax record has no "="');
    const key = data.toString('latin1', space + 1, equals);
    if (key === '') throw malformed('a pax record has no keyword');
    const value = data.subarray(equals + 1, end - 1);
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      // The one keyword that comes more than once, in format 0.0; format 0.1 has the same numbers in one record.
      sparseMap.push(value);
    } else if (value.length === 0) into.delete(key);
    else into.set(key, Buffer.from(value));
    at = end;
  }
  if (sparseMap.length > 0) into.set('GNU.sparse.map', Buffer.from(sparseMap.join(',')));
}

/** A pax time, decimal seconds with any number of fraction digits, as nanoseconds. */
export function paxTime(value: Buffer, key: string): bigint {
  const match = /^(-?)([0-9]{1,12})(?:\.([0-9]*))?$/.exec(value.toString('latin1'));
  if (match === null) throw malformed(`pax ${key} is not a time`);
  const fraction = BigInt((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  const time = BigInt(match[2] as string) * 1_000_000_000n + fraction;
  return match[1] === '-' ? -time : time;
}

/** A pax decimal number. */
export function paxNumber(value: Buffer, key: string): number {
  const digits = value.toString('latin1');
  const number = Number(digits);
  if (!/^-?[0-9]+$/.test(digits) || !Number.isSafeInteger(number)) throw malformed(`pax ${key} is not a number`);
  return number;
}

const SCHILY = 'SCHILY.xattr.';
const LIBARCHIVE = 'LIBARCHIVE.xattr.';

/**
 * Extended attributes: raw under SCHILY.xattr (star, GNU tar, Go), base64 under LIBARCHIVE.xattr (bsdtar).
 * @throws invalid_argument for a name with NUL, which none can have.
 */
export function paxXattrs(records: PaxRecords): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>();
  for (const [key, value] of records) {
    if (!key.startsWith(LIBARCHIVE)) continue;
    xattrs.set(percentDecoded(key.slice(LIBARCHIVE.length)), Buffer.from(value.toString('latin1'), 'base64'));
  }
  for (const [key, value] of records) {
    if (key.startsWith(SCHILY)) xattrs.set(key.slice(SCHILY.length), value);
  }
  for (const name of xattrs.keys()) {
    if (name.includes('\0')) throw malformed('the name of an extended attribute contains NUL');
  }
  return xattrs;
}

function percentDecoded(name: string): string {
  return name.replace(/%([0-9A-Fa-f]{2})/g, (_escape, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}
