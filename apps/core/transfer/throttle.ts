import { setTimeout as sleepFor } from 'node:timers/promises';

/** Time for which bytes that nobody took may be made up for. */
const BURST_MS = 100;

/** Milliseconds of a clock that only goes forward, and how to wait by it. */
export interface Clock {
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

const realClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleepFor(ms, undefined, { signal }),
};

/** Holds all that comes through it to a number of bytes per second. */
export class Throttle {
  readonly #rate: number;
  readonly #clock: Clock;
  /** When the next bytes are due. */
  #due = 0;

  /** @param rate bytes per second; 0: no limit. */
  constructor(rate: number, clock: Clock = realClock) {
    this.#rate = rate;
    this.#clock = clock;
  }

  /** Resolves when so many bytes may have come. @throws what the signal was aborted with. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#rate === 0) return;
    const now = this.#clock.now();
    this.#due = Math.max(this.#due, now - BURST_MS) + (bytes * 1000) / this.#rate;
    if (this.#due <= now) return;
    try {
      await this.#clock.sleep(this.#due - now, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }
}
