import { setTimeout as sleep } from 'node:timers/promises';

/** Time for which bytes that nobody took may be made up for. */
const BURST_MS = 100;

/** Holds all that comes through it to a number of bytes per second. */
export class Throttle {
  readonly #rate: number;
  /** When the next bytes are due, by the monotonic clock. */
  #due = 0;

  /** @param rate bytes per second; 0: no limit. */
  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Resolves when so many bytes may have come. @throws what the signal was aborted with. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#rate === 0) return;
    const now = performance.now();
    this.#due = Math.max(this.#due, now - BURST_MS) + (bytes * 1000) / this.#rate;
    if (this.#due <= now) return;
    await sleep(this.#due - now, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
