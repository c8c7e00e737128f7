import { once } from 'node:events';
import type { ClientDuplexStream, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { BerthError } from '../errors.ts';

/** A call with messages both ways. */
export interface Bidi<Req, Res> extends AsyncIterable<Res> {
  /** Sends a message; waits while the server doesn't read. @throws BerthError when the call is over */
  send(message: Req): Promise<void>;
  /** Says that no more messages come. */
  end(): void;
}

/** How many received messages wait for the reader before the server is made to wait. */
const highWater = 16;

type ReadableCall = ClientReadableStream<unknown> | ClientDuplexStream<unknown, unknown>;

/**
 * The items of a call that is under way. grpc-js emits a failed call's 'error' at once, while items may still be
 * queued, and would crash the process if nobody listened: so it is listened to from the start and thrown at the end.
 * Leaving a `for await` loop early cancels the call.
 */
export function streamItems(
  call: ReadableCall,
  signal: AbortSignal | undefined,
  toError: (error: ServiceError) => BerthError,
): AsyncIterableIterator<unknown> {
  const queue: unknown[] = [];
  let failure: BerthError | undefined;
  let ended = false;
  let wake: (() => void) | undefined;
  const cancel = () => call.cancel();
  const notify = () => {
    wake?.();
    wake = undefined;
  };
  call.on('data', (item: unknown) => {
    queue.push(item);
    if (queue.length >= highWater) call.pause();
    notify();
  });
  call.on('error', (error: ServiceError) => {
    failure = toError(error);
  });
  call.on('end', () => {
    ended = true;
    signal?.removeEventListener('abort', cancel);
    notify();
  });
  signal?.addEventListener('abort', cancel, { once: true });

  return {
    async next() {
      while (queue.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (queue.length > 0) {
        const value = queue.shift();
        if (call.isPaused() && queue.length < highWater / 2) call.resume();
        return { value, done: false };
      }
      if (failure !== undefined) throw failure;
      return { value: undefined, done: true };
    },
    return() {
      cancel();
      // Cancelling makes 'end' come; what is queued until then is dropped.
      queue.length = 0;
      call.resume();
      return Promise.resolve({ value: undefined, done: true });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/**
 * What a call answers whose signal had fired before it began. It isn't begun at all: grpc-js never lets go of the
 * connection of a call that is cancelled before it is under way.
 */
export function abortedItems(signal: AbortSignal): AsyncIterableIterator<never> {
  return {
    next: () => Promise.reject(BerthError.from(signal.reason)),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** {@link abortedItems} for a call with messages both ways. */
export function abortedBidi(signal: AbortSignal): Bidi<unknown, never> {
  return {
    send: () => Promise.reject(BerthError.from(signal.reason)),
    end: () => undefined,
    [Symbol.asyncIterator]: () => abortedItems(signal),
  };
}

export class BidiCall implements Bidi<unknown, unknown> {
  readonly #call: ClientDuplexStream<unknown, unknown>;
  readonly #items: AsyncIterableIterator<unknown>;
  #failure: BerthError | undefined;
  #over = false;

  constructor(
    call: ClientDuplexStream<unknown, unknown>,
    signal: AbortSignal | undefined,
    toError: (error: ServiceError) => BerthError,
  ) {
    this.#call = call;
    this.#items = streamItems(call, signal, toError);
    call.on('error', (error: ServiceError) => {
      this.#failure = toError(error);
    });
    // The status comes when the server is done with the call: nobody reads what is sent from then on.
    call.on('status', () => {
      this.#over = true;
      call.emit('drain');
    });
  }

  async send(message: unknown): Promise<void> {
    this.#refuseIfOver();
    if (this.#call.write(message)) return;
    await once(this.#call, 'drain');
    this.#refuseIfOver();
  }

  end(): void {
    if (!this.#over) this.#call.end();
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return this.#items;
  }

  #refuseIfOver(): void {
    if (this.#over) throw this.#failure ?? new BerthError('unavailable', 'the server has ended the call');
  }
}
