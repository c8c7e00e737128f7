/** What there is for a shim to do, as `Forgotten` asks it. */
export interface ShimDuty {
  /** No process of a container runs, nor is one being made. */
  isAtRest(): boolean;
  /** A daemon is connected. */
  isHeld(): boolean;
  /** There is something left that a daemon could come back for. */
  canBeFound(): boolean;
}

const intervalMs = 60_000;
/** A daemon that restarts, or that makes a connection per call, comes back sooner than that. */
const vacatedMs = 2000;

/**
 * Ends a shim that a daemon forgot: it died between `start` and Create, it gave up on a Create, or the bundle was
 * removed behind the shim's back. While a container lives nothing is looked at, and no timer runs.
 */
export class Forgotten implements Disposable {
  readonly #duty: ShimDuty;
  readonly #end: () => void;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(duty: ShimDuty, end: () => void) {
    this.#duty = duty;
    this.#end = end;
  }

  /** Something has changed: looks a minute later, and every minute for as long as there is no live container. */
  changed(): void {
    if (this.#timer === undefined) this.#lookAfter(intervalMs);
  }

  /** The last daemon has gone, or something has changed since: looks soon. */
  vacated(): void {
    this.#lookAfter(vacatedMs);
  }

  #lookAfter(ms: number): void {
    if (this.#isOver || !this.#duty.isAtRest()) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#duty.isAtRest() && !this.#duty.isHeld() && !this.#duty.canBeFound()) this.#end();
      else this.changed();
    }, ms);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
