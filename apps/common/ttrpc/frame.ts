/**
 * ttrpc frames (containerd/ttrpc PROTOCOL.md): a header of ten bytes, then data.
 *
 *   u32 length of the data | u32 stream id | u8 type | u8 flags        (big endian)
 */

export const frameTypes = { request: 1, response: 2, data: 3 } as const;

export const frameFlags = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

/** A frame's data may be this long; receivers skip and report longer ones. */
export const maxFrameData = 4 * 1024 * 1024;

const headerLength = 10;

export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly data: Buffer;
  /** Length of data beyond the limit, which was skipped: `data` is empty. */
  readonly oversize?: number;
}

/** The bytes of a frame. The caller keeps `data` within `maxFrameData`. */
export function encodeFrame(streamId: number, type: number, data: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(headerLength + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes[8] = type;
  bytes[9] = 0;
  bytes.set(data, headerLength);
  return bytes;
}

/** Cuts a byte stream into frames, however it was chopped up on the way. */
export class FrameReader {
  readonly #header = Buffer.alloc(headerLength);
  #headerFilled = 0;
  #data: Buffer | undefined;
  #dataFilled = 0;
  /** Bytes of an oversize frame still to skip. */
  #skip = 0;

  /** Takes the bytes received next and returns the frames they complete. */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let position = 0;
    while (position < chunk.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - position);
        this.#skip -= skipped;
        position += skipped;
      } else if (this.#data === undefined) {
        const taken = chunk.copy(this.#header, this.#headerFilled, position);
        this.#headerFilled += taken;
        position += taken;
        if (this.#headerFilled === headerLength) this.#startData(frames);
      } else {
        const taken = chunk.copy(this.#data, this.#dataFilled, position);
        this.#dataFilled += taken;
        position += taken;
        if (this.#dataFilled === this.#data.length) this.#finish(frames, this.#data);
      }
    }
    return frames;
  }

  #startData(frames: Frame[]): void {
    const length = this.#header.readUInt32BE(0);
    if (length > maxFrameData) {
      this.#skip = length;
      this.#finish(frames, Buffer.alloc(0), length);
    } else if (length === 0) {
      this.#finish(frames, Buffer.alloc(0));
    } else {
      this.#data = Buffer.allocUnsafe(length);
      this.#dataFilled = 0;
    }
  }

  #finish(frames: Frame[], data: Buffer, oversize?: number): void {
    const frame = {
      streamId: this.#header.readUInt32BE(4),
      type: this.#header[8] as number,
      flags: this.#header[9] as number,
      data,
    };
    frames.push(oversize === undefined ? frame : { ...frame, oversize });
    this.#headerFilled = 0;
    this.#data = undefined;
  }
}
