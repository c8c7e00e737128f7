import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { BerthError, isCode } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { ContentStore } from '../content/store.ts';
import type { IngestedBlob, IngestRequest } from './archive-ingest.ts';

/** Stores a plain layer once more as gzip, with a label that says what it was. */
export async function compressLayer(
  content: ContentStore,
  diffId: string,
  { ns, lease, signal }: IngestRequest,
): Promise<IngestedBlob> {
  const ref = `compress-${diffId}`;
  await using reader = await content.open(ns, diffId);
  await using writer = await content.writer(ns, { ref, lease, signal });
  if (writer.offset > 0) await writer.truncate(0);
  const write = async (compressed: AsyncIterable<Buffer>): Promise<void> => {
    for await (const piece of compressed) await writer.write(piece);
  };
  try {
    await pipeline(Readable.from(reader.stream(), { objectMode: false }), createGzip(), write, { signal });
  } catch (error) {
    await writer.close();
    await content.abort(ns, ref);
    throw signal.aborted ? BerthError.from(signal.reason) : error;
  }
  const [digest, size] = [writer.digest(), writer.offset];
  try {
    await writer.commit({ size, lease, labels: { [labelKeys.uncompressed]: diffId } });
  } catch (error) {
    if (!isCode(error, 'already_exists')) throw error;
  }
  return { digest, size };
}
