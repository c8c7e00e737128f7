import { Writable } from 'node:stream';
import { BerthError } from '../errors.ts';
import { FramedMessage } from './framed-message.ts';

/** The call below a stream of grpc-js. */
interface Sender {
  /** Of node:http2; ended by a status. */
  readonly stream: Writable;
  /** Never calls `done` when the call is over, or ends it because the message can't be sent. */
  sendMessage(message: unknown, done: () => void): void;
  /** The message behind its prefix. */
  serializeMessage(message: unknown): Buffer;
}

/** Bytes of encoded messages after which a batch waits until it has left. */
const batchBytes = 64 << 10;

/**
 * Has the messages of a stream take the shortest way out, for which grpc-js has no options.
 *
 * Those that wait for one under way leave together, in one DATA frame and one system call where they fit. By itself
 * grpc-js hands node:http2 a message, waits until it has left, and hands it the next: that is a turn of the event loop and
 * a system call for each event of each subscriber. So its stream gets the `_writev` that it lacks.
 *
 * A {@link FramedMessage} is sent as it is, and told when it has left.
 */
export function shortenWrites(call: Writable): void {
  const sender: unknown = Reflect.get(call, 'call');
  if (!isSender(sender)) {
    throw new BerthError('internal', 'this version of grpc-js sends the messages of a stream by other means');
  }
  const serialize = sender.serializeMessage;
  sender.serializeMessage = (message) =>
    message instanceof FramedMessage ? message.bytes : serialize.call(sender, message);
  const send = (message: unknown, done: () => void): void => {
    const isFramed = message instanceof FramedMessage;
    sender.sendMessage(message, () => {
      if (isFramed) message.sent();
      done();
    });
  };
  call._write = (message, _encoding, done) => send(message, done);
  call._writev = (messages, done) => {
    let next = 0;
    const sendBatch = (): void => {
      for (let bytes = 0; bytes < batchBytes && next < messages.length && !sender.stream.writableEnded; ) {
        const message: unknown = messages[next++]?.chunk;
        bytes += lengthOf(message);
        const isLast = next === messages.length;
        const isBatchFull = bytes >= batchBytes;
        send(message, isLast ? done : isBatchFull ? sendBatch : () => undefined);
      }
    };
    sendBatch();
  };
}

/** 0 for one that isn't encoded yet: such messages are small. */
function lengthOf(message: unknown): number {
  if (message instanceof FramedMessage) return message.bytes.length;
  return Buffer.isBuffer(message) ? message.length : 0;
}

function isSender(value: unknown): value is Sender {
  if (typeof value !== 'object' || value === null) return false;
  const { stream, sendMessage, serializeMessage } = value as Partial<Sender>;
  return stream instanceof Writable && typeof sendMessage === 'function' && typeof serializeMessage === 'function';
}
