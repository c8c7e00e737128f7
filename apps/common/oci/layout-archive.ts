import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '../errors.ts';
import { hasErrno } from '../node-error.ts';
import { archiveEnd, fileFrame } from './tar-writer.ts';

const documents = ['oci-layout', 'index.json'] as const;

/**
 * An OCI image layout directory (OCI image-spec image-layout.md) as the archive that `tar` would make of it, read as the
 * archive is: whatever takes archives takes directories.
 * @throws invalid_argument for a directory that is no layout; aborted when a file shrinks while it is read.
 */
export async function* layoutArchive(directory: string): AsyncGenerator<Buffer, void, void> {
  for (const name of documents) {
    const text = await readFile(join(directory, name)).catch((error: unknown) => {
      if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, join(directory, name));
      throw new BerthError('invalid_argument', `${directory} is no OCI image layout: it has no ${name}`);
    });
    const { header, padding } = fileFrame(name, text.length);
    yield Buffer.concat([header, text, padding]);
  }
  for (const algorithm of await namesIn(join(directory, 'blobs'))) {
    for (const digest of await namesIn(join(directory, 'blobs', algorithm))) {
      yield* blob(directory, `blobs/${algorithm}/${digest}`);
    }
  }
  yield Buffer.from(archiveEnd);
}

async function* blob(directory: string, name: string): AsyncGenerator<Buffer, void, void> {
  const path = join(directory, name);
  const { size } = await stat(path);
  const { header, padding } = fileFrame(name, size);
  yield header;
  let sent = 0;
  if (size > 0) {
    for await (const piece of createReadStream(path, { end: size - 1 })) {
      sent += piece.length;
      yield piece;
    }
  }
  if (sent < size) throw new BerthError('aborted', `${path} has shrunk while it was read`);
  yield padding;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    throw BerthError.from(error, directory);
  }
}
