import { setTimeout as sleep } from 'node:timers/promises';

export interface Bounds {
  /** Items in work at a time. */
  readonly width: number;
  /** After it an item is left to itself and the next one begins. */
  readonly perItemMs: number;
}

/** Runs `work`, which mustn't reject, for every item. One that hangs delays the whole by its bound at most. */
export async function forEachBounded<T>(
  items: readonly T[],
  { width, perItemMs }: Bounds,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      const bound = new AbortController();
      const timeout = sleep(perItemMs, undefined, { signal: bound.signal }).catch(() => undefined);
      await Promise.race([work(item), timeout]);
      bound.abort();
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}
