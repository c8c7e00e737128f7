import { readTextIfThere } from '#common/native/files.ts';

/** What Bun offers beyond Node's API; absent when the shim runs on Node. */
declare const Bun: { shrink(): void } | undefined;

/** Longer than the kubelet waits between two probes by default: 10 s. */
const quietMs = 15_000;

/** After so much work a pause is enough: a container may be probed for all of its life. 16 commands, 50 KiB each. */
const muchWork = 32;
const pauseMs = 1000;

/** What a collection leaves of a fork's own, and some more. */
const worthwhileKiB = 3328;

/** Create and Start. */
const worksOfStart = 2;

export interface MemorySaverOptions {
  /** Whether this process shares memory with others of its kind (template.ts). */
  readonly isFork: boolean;
}

/**
 * Gives memory back that work took and an idle shim doesn't need, once nothing has happened for a while. The compiled
 * code goes with it: that costs some 1.5 ms of CPU and makes the next exec twice as dear, so it is not done after each
 * probe, nor amid a batch of container starts.
 *
 * A collection also writes into nearly every page that a fork shares with its template. One that has started a
 * container, and run a few commands there, has less memory of its own before that (2.1 to 2.9 MiB) than after (3.1), and
 * is left alone.
 */
export class MemorySaver implements Disposable {
  readonly #isFork: boolean;
  /** Since memory was last given back. */
  #works = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ isFork }: MemorySaverOptions) {
    this.#isFork = isFork;
  }

  /** Some work is done. */
  settled(): void {
    clearTimeout(this.#timer);
    this.#works++;
    if (this.#isFork && this.#works <= worksOfStart) return;
    this.#timer = setTimeout(() => this.#giveBack(), this.#works < muchWork ? quietMs : pauseMs);
  }

  #giveBack(): void {
    this.#works = worksOfStart;
    if (typeof Bun !== 'undefined' && (!this.#isFork || privateKiB() > worthwhileKiB)) Bun.shrink();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Without limit where the kernel doesn't say (CONFIG_PROC_PAGE_MONITOR). */
function privateKiB(): number {
  const sizes = readTextIfThere('/proc/self/smaps_rollup');
  return Number(/^Private_Dirty: +(\d+) kB$/m.exec(sizes ?? '')?.[1] ?? Number.POSITIVE_INFINITY);
}
