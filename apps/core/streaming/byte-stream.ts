import { BerthError } from '#common/errors.ts';
import { type Any, sameType } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { orAborted } from './or-aborted.ts';
import type { ClientStream } from './stream.ts';

const DATA = 'containerd.types.transfer.Data';
const WINDOW_UPDATE = 'containerd.types.transfer.WindowUpdate';

/** Bytes that the client may send ahead of what we have taken. */
const WINDOW = 1024 * 1024;

/** Bytes in one message that we send. */
const MAX_DATA = 256 * 1024;

/**
 * The bytes that a client sends over a stream: it sends Data as far as the window lets it, which we push on with
 * WindowUpdates as the bytes are taken (containerd, core/transfer/streaming). The stream is closed at the end.
 * @throws canceled once the signal aborts, also while the client sends nothing.
 */
export async function* receiveBytes(stream: ClientStream, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
  let window = 0;
  try {
    for (;;) {
      if (window <= WINDOW / 2) {
        window += WINDOW;
        await orAborted(grant(stream, WINDOW), signal);
      }
      const message = await orAborted(stream.receive(), signal);
      if (message === undefined) return;
      const data = dataOf(message);
      window -= data.length;
      if (window < 0) throw new BerthError('invalid_argument', 'the client sends more bytes than its window allows');
      if (data.length > 0) yield data;
    }
  } finally {
    stream.close();
  }
}

/**
 * Sends bytes to a client as far as it lets us with its WindowUpdates, and closes the stream at the end.
 * @throws canceled once the signal aborts or the client goes before it has everything.
 */
export async function sendBytes(
  stream: ClientStream,
  bytes: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<void> {
  let window = 0;
  try {
    for await (const chunk of bytes) {
      let rest = chunk;
      while (rest.length > 0) {
        if (window === 0) window += await nextUpdate(stream, signal);
        const data = rest.subarray(0, Math.min(window, MAX_DATA));
        await orAborted(stream.send({ type_url: DATA, value: Buffer.from(encode(DATA, { data })) }), signal);
        window -= data.length;
        rest = rest.subarray(data.length);
      }
    }
  } finally {
    stream.close();
  }
}

async function nextUpdate(stream: ClientStream, signal: AbortSignal): Promise<number> {
  const message = await orAborted(stream.receive(), signal);
  if (message === undefined) throw new BerthError('canceled', 'the client has left before it had everything');
  if (!sameType(message.type_url, WINDOW_UPDATE)) {
    throw new BerthError('invalid_argument', `expected ${WINDOW_UPDATE} on the stream, not ${message.type_url}`);
  }
  const { update } = decode(WINDOW_UPDATE, message.value);
  if (update < 0) throw new BerthError('invalid_argument', `a window can't be updated by ${update} bytes`);
  return update;
}

/** A client that has sent everything may be gone already; what it sent is still to be read. */
async function grant(stream: ClientStream, bytes: number): Promise<void> {
  const value = Buffer.from(encode(WINDOW_UPDATE, { update: bytes }));
  await stream.send({ type_url: WINDOW_UPDATE, value }).catch(() => undefined);
}

function dataOf(message: Any): Buffer {
  if (!sameType(message.type_url, DATA)) {
    throw new BerthError('invalid_argument', `expected ${DATA} on the stream, not ${message.type_url}`);
  }
  const { data } = decode(DATA, message.value);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
}
