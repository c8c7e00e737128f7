import { BerthError, messageOf } from '../errors.ts';
import type { CallStatus } from './context.ts';
import { FramedMessage } from './framed-message.ts';
import { maxMessageBytes } from './options.ts';
import type { Sender } from './sender.ts';

/** Bytes that leave together, and that wait before the source has to. */
const batchBytes = 64 << 10;

/**
 * Writes the messages of a stream. Those that wait while others are under way leave together, in one DATA frame and one
 * system call where they fit. By itself grpc-js hands node:http2 a message, waits until it has left, and hands it the next:
 * that is a turn of the event loop and a system call for each event of each subscriber.
 */
export class MessageWriter {
  readonly #sender: Sender;
  readonly #serialize: Sender['serializeMessage'];
  #waiting: (Buffer | FramedMessage)[] = [];
  #waitingBytes = 0;
  #isSending = false;
  #isFlushDue = false;
  #status: CallStatus | undefined;
  #onRoom: (() => void) | undefined;

  constructor(sender: Sender) {
    this.#sender = sender;
    this.#serialize = sender.serializeMessage.bind(sender);
    // What reaches the sender from here has its prefix.
    sender.serializeMessage = (bytes) => bytes as Buffer;
  }

  /**
   * Takes a message; false when {@link room} should be waited for before the next.
   * @throws resource_exhausted for one that is too large, internal for one that can't be encoded
   */
  write(message: unknown): boolean {
    const framed = this.#framed(message);
    const bytes = bytesOf(framed).length;
    const length = bytes - FramedMessage.prefixBytes;
    if (length > maxMessageBytes) {
      throw new BerthError('resource_exhausted', `message of ${length} bytes is larger than ${maxMessageBytes}`);
    }
    this.#waiting.push(framed);
    this.#waitingBytes += bytes;
    if (this.#waitingBytes >= batchBytes) this.#flush();
    else if (!this.#isFlushDue) {
      // All that comes in this turn leaves together: eight calls that a client had under way bring one write each, not eight.
      this.#isFlushDue = true;
      setImmediate(() => {
        this.#isFlushDue = false;
        this.#flush();
      });
    }
    return this.#waitingBytes < batchBytes;
  }

  /** Resolves when less than a batch waits. @throws the signal's reason */
  async room(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onRoom = resolve;
    const onAbort = () => resolve();
    signal.addEventListener('abort', onAbort);
    await promise;
    signal.removeEventListener('abort', onAbort);
    signal.throwIfAborted();
  }

  /** Ends the call once everything has been handed over. */
  end(status: CallStatus): void {
    this.#status = status;
    this.#flush();
  }

  #framed(message: unknown): Buffer | FramedMessage {
    if (message instanceof FramedMessage) return message;
    try {
      return this.#serialize(message);
    } catch (error) {
      throw new BerthError('internal', `answer: ${messageOf(error)}`, { cause: error });
    }
  }

  #flush(): void {
    // grpc-js ends a call by itself whose deadline has passed.
    if (this.#sender.stream.writableEnded) return;
    if (!this.#isSending && this.#waiting.length > 0) this.#send(this.#batch());
    if (this.#status === undefined || this.#waiting.length > 0) return;
    this.#sender.sendStatus({ ...this.#status, metadata: null });
    this.#status = undefined;
  }

  #send(batch: readonly (Buffer | FramedMessage)[]): void {
    const [first, ...others] = batch.map(bytesOf);
    this.#isSending = true;
    this.#sender.sendMessage(others.length === 0 ? first : Buffer.concat([first as Buffer, ...others]), () => {
      this.#isSending = false;
      for (const message of batch) if (message instanceof FramedMessage) message.sent();
      if (this.#waiting.length > 0) this.#flush();
      if (this.#waitingBytes < batchBytes) this.#onRoom?.();
    });
  }

  /** Takes what leaves together: large messages leave alone, so that they needn't be copied. */
  #batch(): (Buffer | FramedMessage)[] {
    let bytes = 0;
    let count = 0;
    for (const message of this.#waiting) {
      const { length } = bytesOf(message);
      if (count > 0 && bytes + length > batchBytes) break;
      bytes += length;
      count++;
    }
    this.#waitingBytes -= bytes;
    return this.#waiting.splice(0, count);
  }
}

function bytesOf(message: Buffer | FramedMessage): Buffer {
  return message instanceof FramedMessage ? message.bytes : message;
}
