/** Digests whose files must stay although no row names them yet: between a rename and its transaction, mostly. */
export class Pins {
  readonly #counts = new Map<string, number>();

  /** Releasing twice counts once. */
  pin(digest: string): { release(): void } {
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1);
    let held = true;
    return {
      release: () => {
        if (!held) return;
        held = false;
        const left = (this.#counts.get(digest) ?? 0) - 1;
        if (left > 0) this.#counts.set(digest, left);
        else this.#counts.delete(digest);
      },
    };
  }

  has(digest: string): boolean {
    return this.#counts.has(digest);
  }
}
