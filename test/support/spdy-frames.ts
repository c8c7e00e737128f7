/** Frames of SPDY/3.1 byte by byte, right or wrong; nothing of the server's code is in them. */

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export interface ControlForm {
  readonly type: number;
  readonly flags?: number;
  readonly version?: number;
  /** What the header says; the payload's own unless it is given. */
  readonly length?: number;
}

export function control(form: ControlForm, ...payload: readonly (number | Buffer)[]): Buffer {
  const body = Buffer.concat(payload.map((part) => (typeof part === 'number' ? word(part) : part)));
  const head = Buffer.from([0x80, form.version ?? 3, 0, form.type, form.flags ?? 0, 0, 0, 0]);
  head.writeUIntBE(form.length ?? body.length, 5, 3);
  return Buffer.concat([head, body]);
}

export function data(streamId: number, payload: string, { fin = false, length = payload.length } = {}): Buffer {
  const head = Buffer.concat([word(streamId), Buffer.from([fin ? 1 : 0, 0, 0, 0])]);
  head.writeUIntBE(length, 5, 3);
  return Buffer.concat([head, Buffer.from(payload)]);
}

/** SYN_STREAM, with a header block of any kind. */
export function open(streamId: number, block: Buffer, flags = 0): Buffer {
  return control({ type: 1, flags }, streamId, 0, Buffer.from([0, 0]), block);
}

/** Headers before their compression. */
export function plainHeaders(headers: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(headers);
  return Buffer.concat([
    word(pairs.length),
    ...pairs.flat().flatMap((part) => [word(part.length), Buffer.from(part, 'latin1')]),
  ]);
}

/** The start of a zlib stream that uses SPDY's dictionary: window, flag, the dictionary's Adler-32 (RFC 1950, 2.2). */
export const zlibStart = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);

/** A block that deflate has not compressed (RFC 1951, 3.2.4), and, unless it is the stream's last, the end of a flush. */
export function stored(bytes: Buffer, { last = false } = {}): Buffer {
  const head = Buffer.from([last ? 1 : 0, 0, 0, 0, 0]);
  head.writeUInt16LE(bytes.length, 1);
  head.writeUInt16LE(bytes.length ^ 0xffff, 3);
  return Buffer.concat([head, bytes, last ? Buffer.alloc(0) : Buffer.from([0, 0, 0, 0xff, 0xff])]);
}
