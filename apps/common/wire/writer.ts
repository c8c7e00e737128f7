/** What the generated types allow for a 64-bit field. */
export type Integer = number | string | bigint | { readonly low: number; readonly high: number };

/** Writes a value, or more than one, to a writer. */
export type Write = (writer: Writer, value: unknown) => void;

/** Up to this length a loop over ASCII takes less than the way into native code. */
const shortString = 24;

/** Where every message begins: most fit, and are copied out in their size when they are done. */
const scratch = Buffer.allocUnsafeSlow(16 << 10);

/** Writes protobuf primitives to a buffer that grows. There is one at a time: all begin in the same memory. */
export class Writer {
  #bytes = scratch;
  #length = 0;

  /** The bytes; nothing can be written from then on. */
  finish(): Buffer {
    const bytes = this.#bytes.subarray(0, this.#length);
    return this.#bytes === scratch ? Buffer.from(bytes) : bytes;
  }

  /** Begins a length-delimited value, which {@link close} ends. Returns where it starts. */
  open(): number {
    this.#reserve(1);
    this.#length += 1;
    return this.#length;
  }

  /** Puts the length before the value that began at `start`. Most are short and have the one byte they need left. */
  close(start: number): void {
    const length = this.#length - start;
    if (length < 0x80) {
      this.#bytes[start - 1] = length;
      return;
    }
    const more = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : length < 0x1000_0000 ? 3 : 4;
    this.#reserve(more);
    this.#bytes.copyWithin(start + more, start, this.#length);
    this.#length = start - 1;
    this.uint32(length);
    this.#length += length;
  }

  uint32(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Negative numbers take ten bytes: the encoding extends the sign to 64 bits. */
  int32(value: number): void {
    if (value < 0) this.uint64(value | 0);
    else this.uint32(value);
  }

  /** Signed values are given as they are: two's complement makes the encodings equal. */
  uint64(value: Integer): void {
    this.#reserve(10);
    const number = typeof value === 'string' ? Number(value) : value;
    if (typeof number === 'number' && number >= 0 && number <= Number.MAX_SAFE_INTEGER) {
      this.#small(number);
      return;
    }
    // Arithmetic on bigints makes an object for each step: nine of them for a time in nanoseconds.
    const whole = BigInt.asUintN(64, bigintOf(value));
    let low = Number(whole & 0xffff_ffffn);
    let high = Number(whole >> 32n);
    while (high > 0) {
      this.#bytes[this.#length++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.uint32(low);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
  }

  string(value: string): void {
    if (value.length <= shortString && this.#ascii(value)) return;
    const length = Buffer.byteLength(value);
    this.uint32(length);
    this.#reserve(length);
    this.#length += this.#bytes.write(value, this.#length);
  }

  bytes(value: Uint8Array): void {
    this.uint32(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Returns false, with nothing written, for a text that isn't ASCII. */
  #ascii(value: string): boolean {
    const { length } = value;
    this.#reserve(length + 1);
    const start = this.#length + 1;
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) return false;
      this.#bytes[start + index] = code;
    }
    this.#bytes[start - 1] = length;
    this.#length = start + length;
    return true;
  }

  #small(value: number): void {
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

function bigintOf(value: Integer): bigint {
  if (typeof value === 'object') return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
  return BigInt(value);
}
