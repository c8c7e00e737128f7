import { isDigest } from '#common/digest.ts';
import { BerthError, isCode } from '#common/errors.ts';
import type { CallContext } from '#common/grpc/context.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { WriteContentRequest__Output } from '#proto/containerd/services/content/v1/WriteContentRequest.ts';
import type { WriteContentResponse } from '#proto/containerd/services/content/v1/WriteContentResponse.ts';
import type { ShortLivedBuffers } from '../diff/short-lived-buffers.ts';
import type { ContentStore, ContentWriter } from './store.ts';

/**
 * The conversation of Content.Write: the first request names the ref and takes its lock for the whole stream. STAT tells
 * where the write stands, WRITE appends, COMMIT may append and ends it. An offset of 0 starts anew, any other must be
 * the present one. The stream's end without a commit keeps the ingest for later.
 */
export async function* writeContent(
  content: ContentStore,
  requests: AsyncIterable<WriteContentRequest__Output>,
  { namespace, lease }: CallContext,
  buffers: ShortLivedBuffers,
): AsyncGenerator<WriteContentResponse> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done) return;
  const { ref } = first.value;
  if (ref === '') throw new BerthError('invalid_argument', 'the first message of a write must have a ref');
  let total = Number(first.value.total);
  let expected = first.value.expected || undefined;
  // As in containerd, a digest that nothing can have here is no mistake before the commit.
  const known = expected?.startsWith('sha256:') && isDigest(expected);
  await using writer = await content.writer(namespace, { ref, total, lease, ...(known && { expected }) });
  for (let next: IteratorResult<WriteContentRequest__Output> = first; !next.done; next = await iterator.next()) {
    const request = next.value;
    if (request.expected) {
      expected = request.expected;
      if (isDigest(expected)) await refuseExisting(content, namespace, writer, expected);
    }
    if (Number(request.total) > 0) total = Number(request.total);
    const { action } = request;
    if (action === 'STAT') {
      yield { action, ...progress(writer, total) };
      continue;
    }
    await append(writer, request);
    // As many again as the pieces that the message came in.
    buffers.used(2 * request.data.length);
    const digest = writer.digest();
    if (action === 'COMMIT') {
      await writer.commit({ size: total, expected, labels: request.labels, lease });
      yield { action, offset: writer.offset, digest };
      return;
    }
    yield { action, offset: writer.offset, digest };
  }
}

async function append(writer: ContentWriter, request: WriteContentRequest__Output): Promise<void> {
  const offset = Number(request.offset);
  if (offset > 0 && offset !== writer.offset) {
    throw new BerthError(
      'out_of_range',
      `ref "${writer.ref}": write at ${offset} must occur at the current offset ${writer.offset}`,
    );
  }
  if (offset === 0 && writer.offset > 0) await writer.truncate(0);
  await writer.write(request.data);
}

/** A blob that came in by another way meanwhile ends the write and drops what was written. */
async function refuseExisting(
  content: ContentStore,
  namespace: string,
  writer: ContentWriter,
  expected: string,
): Promise<void> {
  try {
    content.info(namespace, expected);
  } catch (error) {
    if (isCode(error, 'not_found')) return;
    throw error;
  }
  await writer.close();
  await content.abort(namespace, writer.ref);
  throw new BerthError('already_exists', `content ${expected} already exists`);
}

function progress(writer: ContentWriter, total: number): WriteContentResponse {
  const { startedAt, updatedAt } = writer.status;
  return {
    offset: writer.offset,
    total,
    digest: writer.digest(),
    startedAt: timestampFromInstant(startedAt),
    updatedAt: timestampFromInstant(updatedAt),
  };
}
