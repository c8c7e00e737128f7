/** How long a rate looks back. */
const WINDOW_MS = 3000;

/** Bytes per second of something that gets on, over the last seconds. */
export class Rate {
  readonly #samples: { readonly at: number; readonly done: number }[] = [];

  /** Notes how far it has come; answers the rate, 0 while it isn't known. */
  add(done: number, now = performance.now()): number {
    // What was resumed at one go, or begun anew, says nothing about how fast bytes come.
    if (done < (this.#samples.at(-1)?.done ?? 0)) this.#samples.length = 0;
    while (this.#samples.length > 1 && now - (this.#samples[0]?.at ?? now) > WINDOW_MS) this.#samples.shift();
    this.#samples.push({ at: now, done });
    const first = this.#samples[0];
    return first === undefined || first.at === now ? 0 : ((done - first.done) * 1000) / (now - first.at);
  }
}
