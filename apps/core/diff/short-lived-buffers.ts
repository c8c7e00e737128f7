import { collectYoungGeneration } from '#common/garbage.ts';

const MIB = 1024 * 1024;

/**
 * Bounds what buffers take that live for a moment, as the pieces of a stream do. V8 sees the small objects that stand for
 * them and not their bytes, and lets a hundred MiB come together before it looks; a look at the young objects alone
 * takes a millisecond.
 */
export class ShortLivedBuffers {
  readonly #limit: number;
  readonly #letGo: () => void;
  #bytes = 0;

  /**
   * @param limit bytes that may come together before they are let go. Too few, and what is still waiting to be used is
   *   taken for old; too many, and V8 looks at the whole heap by itself, which costs ten times as much.
   */
  constructor(limit = 8 * MIB, letGo = collectYoungGeneration) {
    this.#limit = limit;
    this.#letGo = letGo;
  }

  /** Says that a buffer of so many bytes is about to be needed no more. */
  used(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < this.#limit) return;
    this.#bytes = 0;
    this.#letGo();
  }
}
