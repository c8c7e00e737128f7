/** What Bun offers beyond Node's API; absent when the shim runs on Node. */
declare const Bun: { shrink(): void; gc(force: boolean): void } | undefined;

const delayMs = 3000;

/**
 * Gives memory back that a piece of work took and an idle shim doesn't need: a tenth of its private memory.
 * It costs some 1.5 ms of CPU, so it is done once for what happens within a few seconds, and not amid a batch of
 * container starts.
 */
export class MemorySaver {
  #timer: NodeJS.Timeout | undefined;

  /** Some work is done. */
  settled(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (typeof Bun !== 'undefined') Bun.shrink();
    }, delayMs);
  }
}

/** Leaves what lives, with its code, and nothing else. */
export function collectGarbage(): void {
  if (typeof Bun !== 'undefined') Bun.gc(true);
}
