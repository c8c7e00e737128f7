import { BerthError } from '#common/errors.ts';
import type { CallContext } from '#common/grpc/context.ts';
import { FramedMessage } from '#common/grpc/framed-message.ts';
import { Writer } from '#common/wire/writer.ts';
import type { ReadContentRequest__Output } from '#proto/containerd/services/content/v1/ReadContentRequest.ts';
import { PieceBuffers } from './piece-buffers.ts';
import type { ContentStore } from './store.ts';

/** Messages of one call that are on their way at a time: one is sent while the next is read. */
const atOnce = 2;

/** Content.Read, as `ReadContentResponse`s: every piece is read from the file to the place it has in its message. */
export async function* readContent(
  content: ContentStore,
  request: ReadContentRequest__Output,
  { namespace, signal }: Pick<CallContext, 'namespace' | 'signal'>,
  buffers: PieceBuffers,
): AsyncGenerator<FramedMessage> {
  const { digest } = request;
  await using reader = await content.open(namespace, digest);
  const offset = Math.max(0, Number(request.offset));
  if (offset > reader.size) {
    throw new BerthError('out_of_range', `read at ${offset} is past the ${reader.size} bytes of ${digest}`);
  }
  const size = Number(request.size);
  const end = size > 0 ? Math.min(reader.size, offset + size) : reader.size;
  let underWay = 0;
  let wake: (() => void) | undefined;
  signal.addEventListener('abort', () => wake?.(), { once: true });
  for (let at = offset; at < end; at += PieceBuffers.pieceBytes) {
    const buffer = buffers.take();
    const length = Math.min(PieceBuffers.pieceBytes, end - at);
    const dataAt = putHead(buffer, at, length);
    await reader.fill(buffer.subarray(dataAt, dataAt + length), at);
    underWay += 1;
    yield new FramedMessage(buffer.subarray(0, dataAt + length), () => {
      buffers.giveBack(buffer);
      underWay -= 1;
      wake?.();
    });
    while (underWay === atOnce) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/**
 * Writes what is before the data, behind the place of gRPC's prefix: `int64 offset = 1`, then the tag of `bytes data = 2`
 * and its length. Answers where the data begins.
 */
function putHead(buffer: Buffer, offset: number, length: number): number {
  const writer = new Writer();
  writer.uint32(0x08);
  writer.uint64(offset);
  writer.uint32(0x12);
  writer.uint32(length);
  const head = writer.finish();
  buffer.set(head, FramedMessage.prefixBytes);
  return FramedMessage.prefixBytes + head.length;
}
