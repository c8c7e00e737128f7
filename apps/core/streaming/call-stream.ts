import { BerthError } from '#common/errors.ts';
import type { Any } from '#common/typeurl.ts';
import type { ClientStream } from './stream.ts';

interface Outgoing {
  readonly message: Any;
  readonly taken: () => void;
  readonly dropped: (reason: BerthError) => void;
}

/** A {@link ClientStream} over one call: {@link outgoing} is what the call answers, `incoming` what it receives. */
export class CallStream implements ClientStream {
  readonly #incoming: AsyncIterator<Any>;
  readonly #signal: AbortSignal;
  readonly #queue: Outgoing[] = [];
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(incoming: AsyncIterator<Any>, signal: AbortSignal) {
    this.#incoming = incoming;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#drop(), { once: true });
  }

  send(message: Any): Promise<void> {
    if (this.#closed) return Promise.reject(this.#gone());
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#queue.push({ message, taken: resolve, dropped: reject });
    this.#wake?.();
    return promise;
  }

  async receive(): Promise<Any | undefined> {
    try {
      const next = await this.#incoming.next();
      return next.done ? undefined : next.value;
    } catch (error) {
      throw this.#signal.aborted ? this.#gone() : BerthError.from(error);
    }
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** What was sent, in order, until the stream is closed and its queue empty, or the call is over. */
  async *outgoing(): AsyncGenerator<Any, void, void> {
    try {
      for (;;) {
        const [next] = this.#queue;
        if (next !== undefined) {
          yield next.message;
          next.taken();
          this.#queue.shift();
        } else if (this.#closed) return;
        else {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.#wake = resolve;
          await promise;
        }
      }
    } finally {
      this.#drop();
    }
  }

  /** After a call has ended, nobody takes what is queued. */
  #drop(): void {
    this.close();
    for (const { dropped } of this.#queue.splice(0)) dropped(this.#gone());
  }

  #gone(): BerthError {
    const reason = this.#signal.aborted ? this.#signal.reason : undefined;
    return new BerthError('canceled', 'the stream is closed', { cause: reason });
  }
}
