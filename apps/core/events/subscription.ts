import { BerthError } from '#common/errors.ts';
import type { Envelope, EventStream } from './events.ts';

/** How far a subscriber may lag behind. */
export interface QueueLimits {
  readonly events: number;
  /** Of payload, in all that waits; one event of any size always finds room. */
  readonly bytes: number;
}

interface Waiter {
  resolve(result: IteratorResult<Envelope>): void;
  reject(error: BerthError): void;
}

type Write = (envelope: Envelope) => boolean;

/** One subscriber's bounded queue. */
export class Subscription implements EventStream {
  readonly #matches: (envelope: Envelope) => boolean;
  readonly #limits: QueueLimits;
  readonly #onEnd: (self: Subscription) => void;
  #queue: Envelope[] = [];
  #head = 0;
  #bytes = 0;
  #waiter: Waiter | undefined;
  /** Takes what comes at once, while it is there and nothing is queued. */
  #write: Write | undefined;
  #ended = false;
  #failure: BerthError | undefined;

  constructor(matches: (envelope: Envelope) => boolean, limits: QueueLimits, onEnd: (self: Subscription) => void) {
    this.#matches = matches;
    this.#limits = limits;
    this.#onEnd = onEnd;
  }

  /** Queues the envelope if it matches; ends the subscription with `resource_exhausted` when its queue is full. */
  offer(envelope: Envelope): void {
    if (this.#ended || !this.#matches(envelope)) return;
    if (this.#write !== undefined && this.#writes(envelope, this.#write)) return;
    const waiter = this.#waiter;
    if (waiter === undefined) this.#enqueue(envelope);
    else {
      this.#waiter = undefined;
      waiter.resolve({ done: false, value: envelope });
    }
  }

  /** Whether there is nothing more to do: with no room left, whoever pours is told by the event that took the last of it. */
  #writes(envelope: Envelope, write: Write): boolean {
    try {
      if (write(envelope)) return true;
    } catch (error) {
      this.end(BerthError.from(error));
      return true;
    }
    this.#write = undefined;
    return false;
  }

  #enqueue(envelope: Envelope): void {
    const waiting = this.#queue.length - this.#head;
    const bytes = this.#bytes + envelope.event.value.length;
    if (waiting >= this.#limits.events || (waiting > 0 && bytes > this.#limits.bytes)) {
      const behind = `${waiting} events of ${this.#bytes} bytes behind`;
      const message = `event subscriber is ${behind}: subscribe again and read the state anew`;
      this.end(new BerthError('resource_exhausted', message));
      return;
    }
    this.#bytes = bytes;
    this.#queue.push(envelope);
  }

  /** Ends the subscription, quietly or with what its reader is to be told; what is queued is dropped. */
  end(failure?: BerthError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    this.#head = 0;
    this.#onEnd(this);
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#failure = failure;
    else if (failure === undefined) waiter.resolve({ done: true, value: undefined });
    else waiter.reject(failure);
  }

  async pour(write: Write, room: () => Promise<void>): Promise<void> {
    try {
      for (;;) {
        for (let queued = this.#shift(); queued !== undefined; queued = this.#shift()) {
          if (!write(queued)) await room();
        }
        this.#write = write;
        const { done } = await this.next();
        if (done) return;
        await room();
      }
    } finally {
      this.end();
    }
  }

  next(): Promise<IteratorResult<Envelope>> {
    const value = this.#shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      return Promise.reject(failure);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    if (this.#waiter !== undefined) {
      return Promise.reject(new BerthError('failed_precondition', 'event subscription is already being read'));
    }
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  #shift(): Envelope | undefined {
    const envelope = this.#queue[this.#head];
    if (envelope === undefined) return undefined;
    this.#head += 1;
    this.#bytes -= envelope.event.value.length;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return envelope;
  }

  return(): Promise<IteratorResult<Envelope>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.dispose](): void {
    this.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }
}
