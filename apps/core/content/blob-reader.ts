import { type FileHandle, open } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ContentReader } from './store.ts';

/** Bytes per piece: one gRPC message of Content.Read, well below its 16 MiB limit. */
const pieceSize = 1 << 20;

/** @throws data_loss when the file is gone although a row names it. */
export async function openReader(path: string, digest: string): Promise<ContentReader> {
  try {
    const file = await open(path, 'r');
    return new BlobReader(path, (await file.stat()).size, file);
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
  readonly #file: FileHandle;

  constructor(path: string, size: number, file: FileHandle) {
    this.path = path;
    this.size = size;
    this.#file = file;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.size - offset)));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await this.#file.read(buffer, filled, buffer.length - filled, offset + filled);
      if (bytesRead === 0) throw new BerthError('data_loss', `${this.path} is shorter than its ${this.size} bytes`);
      filled += bytesRead;
    }
    return buffer;
  }

  async *stream(offset = 0, length = this.size - offset): AsyncGenerator<Buffer> {
    const end = Math.min(this.size, offset + length);
    for (let at = offset; at < end; at += pieceSize) yield await this.read(at, Math.min(pieceSize, end - at));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
