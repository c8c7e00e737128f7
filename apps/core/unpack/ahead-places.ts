import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Places for layers that are unpacked before their turn, of all images together. The lowest layer of an image that isn't
 * done needs none: whatever those above it wait for, it gets on.
 */
export class AheadPlaces {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(places: number) {
    this.#free = places;
  }

  /**
   * Resolves once the layer may begin: with a place, ahead of those below, or because its turn has come. Disposing the
   * answer gives the place back, as the turn does.
   * @param turn settles when the layer is the lowest that isn't done, or when those below have failed.
   */
  async take(turn: Promise<unknown>): Promise<Disposable & { readonly isAhead: boolean }> {
    const taken = Promise.withResolvers<boolean>();
    let state: 'waiting' | 'placed' | 'none' = 'waiting';
    const give = (): void => {
      state = 'placed';
      taken.resolve(true);
    };
    const leave = (): void => {
      if (state === 'placed') this.#release();
      else this.#waiting.delete(give);
      state = 'none';
      taken.resolve(false);
    };
    turn.then(leave, leave);
    // The turn may have come already.
    await nextTurn();
    if (state === 'waiting') {
      this.#waiting.add(give);
      this.#fill();
    }
    return { isAhead: await taken.promise, [Symbol.dispose]: leave };
  }

  #release(): void {
    this.#free++;
    this.#fill();
  }

  #fill(): void {
    for (const give of this.#waiting) {
      if (this.#free === 0) return;
      this.#free--;
      this.#waiting.delete(give);
      give();
    }
  }
}
