import { BerthError } from '#common/errors.ts';
import { Writer } from '#common/wire/writer.ts';
import type { ReadContentRequest__Output } from '#proto/containerd/services/content/v1/ReadContentRequest.ts';
import type { ContentStore } from './store.ts';

/** Bytes per message, well below gRPC's limit of 16 MiB. */
const pieceSize = 1 << 20;

/** Content.Read, as encoded `ReadContentResponse`s: every piece is read from the file to the place it has in its message. */
export async function* readContent(
  content: ContentStore,
  request: ReadContentRequest__Output,
  namespace: string,
): AsyncGenerator<Buffer> {
  const { digest } = request;
  await using reader = await content.open(namespace, digest);
  const offset = Math.max(0, Number(request.offset));
  if (offset > reader.size) {
    throw new BerthError('out_of_range', `read at ${offset} is past the ${reader.size} bytes of ${digest}`);
  }
  const size = Number(request.size);
  const end = size > 0 ? Math.min(reader.size, offset + size) : reader.size;
  for (let at = offset; at < end; at += pieceSize) {
    const length = Math.min(pieceSize, end - at);
    const head = headOf(at, length);
    const message = Buffer.allocUnsafe(head.length + length);
    message.set(head);
    await reader.fill(message.subarray(head.length), at);
    yield message;
  }
}

/** What is before the data: `int64 offset = 1`, then the tag of `bytes data = 2` and its length. */
function headOf(offset: number, length: number): Buffer {
  const writer = new Writer();
  writer.uint32(0x08);
  writer.uint64(offset);
  writer.uint32(0x12);
  writer.uint32(length);
  return writer.finish();
}
