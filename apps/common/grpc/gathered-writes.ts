import { Writable } from 'node:stream';
import { BerthError } from '../errors.ts';

/** The call below a stream of grpc-js. */
interface Sender {
  /** Of node:http2; ended by a status. */
  readonly stream: Writable;
  /** Never calls `done` when the call is over, or ends it because the message can't be sent. */
  sendMessage(message: unknown, done: () => void): void;
}

/** Bytes of encoded messages after which a batch waits until it has left. */
const batchBytes = 64 << 10;

/**
 * Lets the messages of a stream that wait for one under way leave together, in one DATA frame and one system call where
 * they fit. By itself grpc-js hands node:http2 a message, waits until it has left, and hands it the next: that is a turn
 * of the event loop and a system call for each event of each subscriber. It has no option for that, so its stream gets
 * the `_writev` that it lacks.
 */
export function gatherWrites(call: Writable): void {
  const sender: unknown = Reflect.get(call, 'call');
  if (!isSender(sender)) {
    throw new BerthError('internal', 'this version of grpc-js sends the messages of a stream by other means');
  }
  call._writev = (messages, done) => {
    let next = 0;
    const sendBatch = (): void => {
      for (let bytes = 0; bytes < batchBytes && next < messages.length && !sender.stream.writableEnded; ) {
        const message: unknown = messages[next++]?.chunk;
        bytes += Buffer.isBuffer(message) ? message.length : 0;
        const isLast = next === messages.length;
        const isBatchFull = bytes >= batchBytes;
        sender.sendMessage(message, isLast ? done : isBatchFull ? sendBatch : () => undefined);
      }
    };
    sendBatch();
  };
}

function isSender(value: unknown): value is Sender {
  if (typeof value !== 'object' || value === null) return false;
  const { stream, sendMessage } = value as Partial<Sender>;
  return stream instanceof Writable && typeof sendMessage === 'function';
}
