import { randomUUID } from 'node:crypto';
import type { StreamingDefinition, StreamingHandlers } from '#proto/containerd/services/streaming/v1/Streaming.ts';
import type { TransferDefinition, TransferHandlers } from '#proto/containerd/services/transfer/v1/Transfer.ts';
import type { Any } from '#proto/google/protobuf/Any.ts';
import type { WireTypes } from '#proto/wire.ts';
import { BerthError } from '../errors.ts';
import type { Bidi, CallOptions, Channel } from '../grpc/client.ts';
import { architecture } from '../oci/image-archive.ts';
import { decode, encode } from '../wire/codec.ts';

export interface ImportOptions extends Pick<CallOptions, 'signal' | 'namespace' | 'lease'> {
  /** Unpack the image for this machine with this snapshotter. Default: keep the content only. */
  readonly unpackWith?: string;
  /** Id of a stream that is told how it goes. Default: none. */
  readonly progressStream?: string;
}

/** A member that is named by a tag alone gets this name before it; full names stay as they are. */
const tagOnlyPrefix = 'import';
const dataType = 'containerd.types.transfer.Data';
/** As containerd's own sender: pieces of 32 KiB. */
const pieceSize = 32 * 1024;

/**
 * Imports an OCI or Docker archive into a daemon that speaks containerd's API, through the Transfer service: the
 * daemon reads the archive from a stream. The images keep the names that the archive gives them.
 * @throws BerthError with the daemon's code, or what reading the archive throws
 */
export async function importArchive(
  channel: Channel,
  archive: Uint8Array | AsyncIterable<Uint8Array>,
  options: ImportOptions = {},
): Promise<void> {
  const { unpackWith, progressStream = '', ...call } = options;
  const streaming = channel.client<StreamingHandlers, StreamingDefinition>(
    'containerd.services.streaming.v1.Streaming',
  );
  const transfer = channel.client<TransferHandlers, TransferDefinition>('containerd.services.transfer.v1.Transfer');
  const over = new AbortController();
  const signal = call.signal === undefined ? over.signal : AbortSignal.any([over.signal, call.signal]);
  let unread: unknown;
  async function* pieces() {
    try {
      yield* archive instanceof Uint8Array ? [archive] : archive;
    } catch (error) {
      unread = error;
      throw error;
    }
  }
  try {
    const id = `import-${randomUUID()}`;
    const stream = streaming.stream({ ...call, signal });
    const answers = stream[Symbol.asyncIterator]();
    await stream.send(pack('containerd.services.streaming.v1.StreamInit', { id }));
    // The daemon answers once it knows the stream by its id; only then may a transfer name it.
    await answers.next();
    // The stream's errors are left aside: the transfer knows why it failed, the stream only that it ended.
    send(stream, answers, pieces()).catch(() => over.abort());
    const platform = { os: 'linux', architecture: architecture() };
    await transfer.transfer(
      {
        source: pack('containerd.types.transfer.ImageImportStream', { stream: id }),
        destination: pack('containerd.types.transfer.ImageStore', {
          extraReferences: [{ name: tagOnlyPrefix, isPrefix: true, allowOverwrite: true }],
          ...(unpackWith === undefined
            ? {}
            : { platforms: [platform], unpacks: [{ platform, snapshotter: unpackWith }] }),
        }),
        options: { progressStream },
      },
      call,
    );
  } catch (error) {
    throw BerthError.from(unread ?? error, 'import an archive');
  } finally {
    over.abort();
  }
}

/** Sends the archive piece by piece, never more than the receiver has granted. */
async function send(
  stream: Bidi<Any, unknown>,
  answers: AsyncIterator<unknown>,
  archive: AsyncIterable<Uint8Array>,
): Promise<void> {
  let window = 0;
  for await (const chunk of archive) {
    for (let offset = 0; offset < chunk.length; ) {
      while (window <= 0) window += await nextGrant(answers);
      const piece = chunk.subarray(offset, offset + Math.min(pieceSize, window));
      await stream.send(pack(dataType, { data: Buffer.from(piece) }));
      offset += piece.length;
      window -= piece.length;
    }
  }
  stream.end();
}

async function nextGrant(answers: AsyncIterator<unknown>): Promise<number> {
  const { value, done } = await answers.next();
  if (done) throw new BerthError('unavailable', 'the daemon closed the stream before it had read the archive');
  return decode('containerd.types.transfer.WindowUpdate', (value as { value: Buffer }).value).update;
}

function pack<M extends keyof WireTypes>(type: M, value: WireTypes[M]['in']): Any {
  return { type_url: type, value: Buffer.from(encode(type, value)) };
}
