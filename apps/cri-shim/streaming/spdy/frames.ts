import { BerthError } from '#common/errors.ts';

/** Types of control frames (SPDY/3.1 draft, 2.6). */
export const TYPE = {
  SYN_STREAM: 1,
  SYN_REPLY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  HEADERS: 8,
  WINDOW_UPDATE: 9,
} as const;

/** Why a stream was reset (2.6.3). */
export const RST = {
  PROTOCOL_ERROR: 1,
  INVALID_STREAM: 2,
  REFUSED_STREAM: 3,
  CANCEL: 5,
  INTERNAL_ERROR: 6,
  STREAM_IN_USE: 8,
  STREAM_ALREADY_CLOSED: 9,
} as const;

export const FLAG_FIN = 1;

/** A control frame at most; data frames aren't collected, so they may have any length. */
const MAX_CONTROL = 64 * 1024;
const VERSION = 3;

/** What the parser meets, in the order of the bytes. */
export interface FrameHandler {
  control(type: number, flags: number, payload: Buffer): void;
  /** A part of a data frame; `fin` with the last part of a frame that has the flag. */
  data(streamId: number, bytes: Buffer, fin: boolean): void;
}

/** Cuts bytes into frames. Payloads of data frames are handed on as they come, without a copy. */
export class FrameParser {
  readonly #handler: FrameHandler;
  #held: Buffer = Buffer.alloc(0);
  /** The data frame whose payload is coming in. */
  #data: { readonly streamId: number; readonly fin: boolean; left: number } | undefined;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** @throws invalid_argument for what is no frame of this version */
  push(chunk: Buffer): void {
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    while (bytes.length > 0) {
      const taken = this.#data === undefined ? this.#frame(bytes) : this.#payload(this.#data, bytes);
      if (taken === 0) break;
      bytes = bytes.subarray(taken);
    }
    this.#held = bytes;
  }

  #payload(data: { readonly streamId: number; readonly fin: boolean; left: number }, bytes: Buffer): number {
    const part = bytes.subarray(0, data.left);
    data.left -= part.length;
    if (data.left === 0) this.#data = undefined;
    this.#handler.data(data.streamId, part, data.fin && data.left === 0);
    return part.length;
  }

  /** Answers how many bytes it took: 0 while the frame isn't complete. */
  #frame(bytes: Buffer): number {
    if (bytes.length < 8) return 0;
    const head = bytes.readUInt32BE(0);
    const flags = bytes.readUInt8(4);
    const length = bytes.readUIntBE(5, 3);
    if (head < 0x80000000) {
      const fin = (flags & FLAG_FIN) !== 0;
      if (length === 0) this.#handler.data(head, bytes.subarray(8, 8), fin);
      else this.#data = { streamId: head, fin, left: length };
      return 8;
    }
    const version = (head >>> 16) & 0x7fff;
    if (version !== VERSION) throw new BerthError('invalid_argument', `a frame of SPDY version ${version}`);
    if (length > MAX_CONTROL) throw new BerthError('invalid_argument', `a control frame of ${length} bytes`);
    if (bytes.length < 8 + length) return 0;
    this.#handler.control(head & 0xffff, flags, bytes.subarray(8, 8 + length));
    return 8 + length;
  }
}

export function controlFrame(type: number, flags: number, ...payload: readonly (number | Buffer)[]): Buffer {
  const parts = payload.map((part) => (typeof part === 'number' ? word(part) : part));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([word(0x80000000 + VERSION * 0x10000 + type), word(flags * 0x1000000 + length), ...parts]);
}

/** The eight bytes before a data frame's payload. */
export function dataHeader(streamId: number, length: number, fin: boolean): Buffer {
  const header = Buffer.allocUnsafe(8);
  header.writeUInt32BE(streamId, 0);
  header.writeUInt32BE((fin ? FLAG_FIN * 0x1000000 : 0) + length, 4);
  return header;
}

function word(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
