import { BerthError } from '#common/errors.ts';

/** So many bytes must come within the time: a server that sends one now and then doesn't count as alive. */
const LEAST_BYTES = 64 * 1024;

/** Finds out that a server has stopped sending. Only time spent on waiting for it counts, not what is done meanwhile. */
export class StallWatch implements Disposable {
  readonly #limitMs: number;
  readonly #onStall: (reason: BerthError) => void;
  readonly #host: string;
  #waitedMs = 0;
  #bytes = 0;
  #since = 0;
  #timer: NodeJS.Timeout | undefined;
  #lastLook: NodeJS.Immediate | undefined;

  constructor(host: string, limitMs: number, onStall: (reason: BerthError) => void) {
    this.#host = host;
    this.#limitMs = limitMs;
    this.#onStall = onStall;
  }

  /** Waiting begins. */
  wait(): void {
    this.#since = performance.now();
    this.#timer = setTimeout(
      () => {
        // A daemon that was busy itself may have bytes waiting: they are looked at first.
        this.#lastLook = setImmediate(() => this.#stalled());
      },
      Math.max(0, this.#limitMs - this.#waitedMs),
    );
  }

  /** Waiting is over, with so many bytes. */
  got(bytes: number): void {
    this.#rest();
    this.#waitedMs += performance.now() - this.#since;
    this.#bytes += bytes;
    if (this.#bytes < LEAST_BYTES) return;
    this.#waitedMs = 0;
    this.#bytes = 0;
  }

  [Symbol.dispose](): void {
    this.#rest();
  }

  #rest(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#lastLook);
  }

  #stalled(): void {
    const seconds = Math.round(this.#limitMs / 100) / 10;
    const message = `${this.#host} has stalled: it sent ${this.#bytes} bytes in ${seconds} s`;
    this.#onStall(new BerthError('unavailable', message));
  }
}
