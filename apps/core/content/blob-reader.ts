import { closeSync, openSync, read as readCallback } from 'node:fs';
import { promisify } from 'node:util';
import { BerthError } from '#common/errors.ts';
import { readCached } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ContentReader } from './store.ts';

/** Bytes per piece. */
const pieceSize = 1 << 20;

const read = promisify(readCallback);

/**
 * Opens a blob of `size` bytes. containerd's client opens a blob anew for every 32 KiB that it reads: opening and closing
 * are plain system calls here, which take less than the way through the thread pool.
 * @throws data_loss when the file is gone although a row names it.
 */
export function openReader(path: string, digest: string, size: number): ContentReader {
  try {
    return new BlobReader(path, size, openSync(path, 'r'));
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) {
      throw new BerthError('data_loss', `content ${digest}: its file ${path} is missing: delete and pull it again`);
    }
    throw BerthError.from(error, `open ${path}`);
  }
}

class BlobReader implements ContentReader {
  readonly path: string;
  readonly size: number;
  readonly #fd: number;
  #closed = false;

  constructor(path: string, size: number, fd: number) {
    this.path = path;
    this.size = size;
    this.#fd = fd;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.size - offset)));
    await this.fill(buffer, offset);
    return buffer;
  }

  async fill(buffer: Buffer, offset: number): Promise<void> {
    let filled = 0;
    while (filled < buffer.length) {
      const cached = readCached(this.#fd, buffer.subarray(filled), offset + filled);
      // Only what isn't in memory waits for the disk, and that not on this thread.
      const bytesRead =
        cached ?? (await read(this.#fd, buffer, filled, buffer.length - filled, offset + filled)).bytesRead;
      if (bytesRead === 0) throw new BerthError('data_loss', `${this.path} is shorter than its ${this.size} bytes`);
      filled += bytesRead;
    }
  }

  async *stream(offset = 0, length = this.size - offset): AsyncGenerator<Buffer> {
    const end = Math.min(this.size, offset + length);
    for (let at = offset; at < end; at += pieceSize) yield await this.read(at, Math.min(pieceSize, end - at));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
