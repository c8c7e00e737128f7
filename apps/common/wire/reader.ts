import { BerthError } from '../errors.ts';
import { wireTypes } from './schema.ts';

const twoTo32 = 0x1_0000_0000;
/** High halves below this keep the whole number within 2^53. */
const safeHigh = 0x20_0000;

/** Up to this length a loop over ASCII takes less than the way into native code. */
const shortString = 10;

/** Reads protobuf primitives from a buffer; every method throws `invalid_argument` past its end. */
export class Reader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #position: number;
  /** Halves of the varint read last, as unsigned 32-bit numbers. */
  #low = 0;
  #high = 0;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#position >= this.#end;
  }

  /** A tag, or any varint that fits in 32 bits; higher bits are dropped. */
  uint32(): number {
    this.#varint();
    return this.#low;
  }

  int32(): number {
    this.#varint();
    return this.#low | 0;
  }

  bool(): boolean {
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** As a decimal string. */
  uint64(): string {
    this.#varint();
    if (this.#high < safeHigh) return String(this.#high * twoTo32 + this.#low);
    return String((BigInt(this.#high) << 32n) | BigInt(this.#low));
  }

  /** As a decimal string. */
  int64(): string {
    this.#varint();
    if (this.#high < safeHigh) return String(this.#high * twoTo32 + this.#low);
    return String(BigInt.asIntN(64, (BigInt(this.#high) << 32n) | BigInt(this.#low)));
  }

  double(): number {
    return this.#bytes.readDoubleLE(this.#advance(8));
  }

  string(): string {
    const length = this.uint32();
    const start = this.#advance(length);
    return (
      (length <= shortString ? this.#ascii(start) : undefined) ?? this.#bytes.toString('utf8', start, start + length)
    );
  }

  /** Shares memory with the buffer that is read. */
  bytes(): Buffer {
    const length = this.uint32();
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** A reader of the length-delimited value that follows; this one goes on after it. */
  nested(): Reader {
    const length = this.uint32();
    const start = this.#advance(length);
    return new Reader(this.#bytes, start, start + length);
  }

  skip(wireType: number): void {
    switch (wireType) {
      case wireTypes.varint:
        this.#varint();
        return;
      case wireTypes.fixed64:
        this.#advance(8);
        return;
      case wireTypes.bytes:
        this.#advance(this.uint32());
        return;
      case wireTypes.fixed32:
        this.#advance(4);
        return;
      default:
        throw new BerthError('invalid_argument', `protobuf: wire type ${wireType} at byte ${this.#position}`);
    }
  }

  /** Moves on by `length` bytes and returns where they start. */
  #advance(length: number): number {
    const start = this.#position;
    if (length > this.#end - start) {
      throw new BerthError('invalid_argument', `protobuf: a value ends beyond byte ${this.#end}`);
    }
    this.#position = start + length;
    return start;
  }

  /** The text from `start` to where the reader stands; undefined when it isn't ASCII. */
  #ascii(start: number): string | undefined {
    let text = '';
    for (let at = start; at < this.#position; at++) {
      const byte = this.#bytes[at] as number;
      if (byte > 0x7f) return undefined;
      text += String.fromCharCode(byte);
    }
    return text;
  }

  #varint(): void {
    const first = this.#byte();
    this.#high = 0;
    if (first < 0x80) {
      this.#low = first;
      return;
    }
    let low = first & 0x7f;
    let high = 0;
    for (let shift = 7; shift < 70; shift += 7) {
      const byte = this.#byte();
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw new BerthError('invalid_argument', `protobuf: a varint of more than 10 bytes ends at ${this.#position}`);
  }

  #byte(): number {
    if (this.#position >= this.#end) this.#advance(1);
    return this.#bytes[this.#position++] as number;
  }
}
