import { constants, createInflate, type Inflate } from 'node:zlib';
import { BerthError } from '#common/errors.ts';
import { dictionary } from './dictionary.ts';

export type Headers = ReadonlyMap<string, string>;

/** A header block, inflated, at most: small input may stand for a lot. */
const MAX_BLOCK = 64 * 1024;
/** What is inflated at a time: blocks have a hundred bytes or two. */
const CHUNK = 1024;
/** Headers of one block at most. */
const MAX_HEADERS = 256;

/**
 * The start of a zlib stream with the dictionary: a window of 32 KiB, the flag, the dictionary's Adler-32 (RFC 1950,
 * 2.2).
 */
const STREAM_START = Buffer.from([0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
/**
 * A header block without headers: their number, 0, in a stored block, which needs no compressor (RFC 1951, 3.2.4), and an
 * empty one. At that a reader hands on what it has; Go's does so nowhere else.
 */
const NO_HEADERS = Buffer.from([0x00, 0x04, 0x00, 0xfb, 0xff, 0, 0, 0, 0, 0x00, 0x00, 0x00, 0xff, 0xff]);

/**
 * Decompresses header blocks, and makes those of replies, which say nothing. Each direction of a session has one zlib
 * stream, so blocks must come in the order of their frames.
 */
export class HeaderCodec {
  /** Hands on all that a block makes before it takes the next: a flush of its own would be a second way to another thread. */
  readonly #inflate: Inflate = createInflate({ dictionary, flush: constants.Z_SYNC_FLUSH, chunkSize: CHUNK });
  #inflated: Buffer[] = [];
  #size = 0;
  #failure: Error | undefined;
  #decoding: Promise<unknown> = Promise.resolve();
  #replied = false;

  constructor() {
    this.#inflate.on('data', (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size > MAX_BLOCK) this.#inflate.destroy(new Error('a header block is too large'));
      else this.#inflated.push(chunk);
    });
    this.#inflate.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** @throws invalid_argument; the session can't go on then */
  decode(block: Buffer): Promise<Headers> {
    const result = this.#decoding.then(() => this.#decode(block));
    this.#decoding = result.catch(() => undefined);
    return result;
  }

  async #decode(block: Buffer): Promise<Headers> {
    if (this.#failure === undefined && block.length > 0) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#inflate.off('close', done);
          resolve();
        };
        this.#inflate.once('close', done);
        this.#inflate.write(block, done);
      });
    }
    if (this.#failure !== undefined) throw new BerthError('invalid_argument', `header block: ${this.#failure.message}`);
    const bytes = Buffer.concat(this.#inflated);
    this.#inflated = [];
    this.#size = 0;
    return parseHeaders(bytes);
  }

  /** The block of the next reply. */
  encodeNone(): Buffer {
    if (this.#replied) return NO_HEADERS;
    this.#replied = true;
    return Buffer.concat([STREAM_START, NO_HEADERS]);
  }

  close(): void {
    this.#inflate.destroy();
  }
}

/** Several values of one name come joined with NUL; only the first counts here. Names are compared in lower case. */
function parseHeaders(bytes: Buffer): Headers {
  let at = 0;
  const number = () => {
    if (at + 4 > bytes.length) throw new BerthError('invalid_argument', 'a header block is cut off');
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = () => {
    const length = number();
    if (length > bytes.length - at) throw new BerthError('invalid_argument', 'a header block is cut off');
    at += length;
    return bytes.toString('latin1', at - length, at);
  };
  const count = number();
  if (count > MAX_HEADERS) throw new BerthError('invalid_argument', `a header block has ${count} headers`);
  const headers = new Map<string, string>();
  for (let n = 0; n < count; n++) {
    const name = text().toLowerCase();
    headers.set(name, text().split('\0', 1)[0] ?? '');
  }
  return headers;
}
