import { promisify } from 'node:util';
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib';
import { BerthError } from '#common/errors.ts';
import { dictionary } from './dictionary.ts';

export type Headers = ReadonlyMap<string, string>;

/** A header block, inflated, at most: small input may stand for a lot. */
const MAX_BLOCK = 64 * 1024;
/** Headers of one block at most. */
const MAX_HEADERS = 256;

/**
 * Compresses and decompresses header blocks. Each direction of a session has one zlib stream, so blocks must come in
 * the order of their frames.
 */
export class HeaderCodec {
  readonly #inflate: Inflate = createInflate({ dictionary });
  readonly #deflate: Deflate = createDeflate({ dictionary, level: 1, windowBits: 11, memLevel: 4 });
  #inflated: Buffer[] = [];
  #size = 0;
  #failure: Error | undefined;
  #decoding: Promise<unknown> = Promise.resolve();

  constructor() {
    this.#inflate.on('data', (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size > MAX_BLOCK) this.#inflate.destroy(new Error('a header block is too large'));
      else this.#inflated.push(chunk);
    });
    this.#inflate.on('error', (error) => {
      this.#failure = error;
    });
    this.#deflate.on('error', () => undefined);
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
        this.#inflate.write(block, () => this.#inflate.flush(constants.Z_SYNC_FLUSH, done));
      });
    }
    if (this.#failure !== undefined) throw new BerthError('invalid_argument', `header block: ${this.#failure.message}`);
    const bytes = Buffer.concat(this.#inflated);
    this.#inflated = [];
    this.#size = 0;
    return parseHeaders(bytes);
  }

  /** Calls must not overlap. */
  async encode(headers: Headers): Promise<Buffer> {
    const chunks: Buffer[] = [];
    const collect = (chunk: Buffer) => chunks.push(chunk);
    this.#deflate.on('data', collect);
    try {
      this.#deflate.write(printHeaders(headers));
      await promisify((done: () => void) => this.#deflate.flush(constants.Z_SYNC_FLUSH, done))();
    } finally {
      this.#deflate.off('data', collect);
    }
    return Buffer.concat(chunks);
  }

  close(): void {
    this.#inflate.destroy();
    this.#deflate.destroy();
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

function printHeaders(headers: Headers): Buffer {
  const parts: Buffer[] = [uint32(headers.size)];
  for (const pair of headers) {
    for (const part of pair) parts.push(uint32(Buffer.byteLength(part, 'latin1')), Buffer.from(part, 'latin1'));
  }
  return Buffer.concat(parts);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
