import type { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { BerthError } from '#common/errors.ts';

export type Compression = 'gzip' | 'zstd' | 'none';

/** Pieces small enough for the cache, large enough that crossing threads costs nothing. */
const CHUNK = 256 * 1024;

/** Tells the compression from the first bytes; media types aren't always truthful. Six bytes are enough. */
export function detectCompression(start: Uint8Array): Compression {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  const magic = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (start.byteLength < 4) return 'none';
  const word = magic.getUint32(0, true);
  // RFC 8878: a frame, or a skippable one in front (zstd:chunked).
  if (word === 0xfd2fb528 || (word & 0xfffffff0) >>> 0 === 0x184d2a50) return 'zstd';
  // Common elsewhere, but in no image specification.
  if (magic.getUint32(0, false) === 0xfd377a58)
    throw new BerthError('unimplemented', 'xz compression is not supported');
  if (start[0] === 0x42 && start[1] === 0x5a && start[2] === 0x68) {
    throw new BerthError('unimplemented', 'bzip2 compression is not supported');
  }
  return 'none';
}

/**
 * The uncompressed bytes of `source`, decompressed off the main thread, a few pieces ahead of the reader. Several gzip
 * members or zstd frames in a row are one stream.
 * @throws data_loss when the data is damaged or truncated.
 */
export async function* decompress(source: Readable, compression: Compression): AsyncGenerator<Buffer, void, void> {
  if (compression === 'none') {
    yield* source as AsyncIterable<Buffer>;
    return;
  }
  const options = { chunkSize: CHUNK, highWaterMark: 4 * CHUNK };
  const stream = compression === 'gzip' ? createGunzip(options) : createZstdDecompress(options);
  source.on('error', (error) => stream.destroy(error));
  source.pipe(stream);
  try {
    yield* stream as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof Error && 'code' in error && /^(Z_|ZSTD_|ERR_ZLIB)/.test(String(error.code))) {
      throw new BerthError('data_loss', `the ${compression} data is damaged: ${error.message}`, { cause: error });
    }
    throw error;
  } finally {
    source.destroy();
    stream.destroy();
  }
}
