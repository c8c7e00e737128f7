/** What Bun offers beyond Node's API; absent when the shim runs on Node. */
declare const Bun: { shrink(): void; gc(force: boolean): void } | undefined;

/** Longer than the kubelet waits between two probes by default: 10 s. */
const quietMs = 15_000;

/**
 * Gives memory back that work took and an idle shim doesn't need, a tenth of its private memory up to a third, once
 * nothing has happened for a while. The compiled code goes with it: that costs some 1.5 ms of CPU and makes the next
 * exec twice as dear, so it is not done between probes, nor amid a batch of container starts.
 */
export class MemorySaver {
  #timer: NodeJS.Timeout | undefined;

  /** Some work is done. */
  settled(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (typeof Bun !== 'undefined') Bun.shrink();
    }, quietMs);
  }
}

/** Leaves what lives, with its code, and nothing else. */
export function collectGarbage(): void {
  if (typeof Bun !== 'undefined') Bun.gc(true);
}
