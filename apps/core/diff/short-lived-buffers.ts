import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What may come together before it is let go. */
const LIMIT = 8 * 1024 * 1024;

/**
 * Bounds what buffers take that live for a moment, as the pieces of a stream do. V8 sees the small objects that stand for
 * them and not their bytes, and lets a hundred MiB come together before it looks; a look at the young objects alone
 * takes a millisecond.
 */
export class ShortLivedBuffers {
  readonly #letGo: () => void;
  #bytes = 0;

  constructor(letGo = youngCollection()) {
    this.#letGo = letGo;
  }

  /** Says that a buffer of so many bytes is about to be needed no more. */
  used(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < LIMIT) return;
    this.#bytes = 0;
    this.#letGo();
  }
}

function youngCollection(): () => void {
  // Contexts made from here on have the function; the main one, with all that runs in it, has not.
  setFlagsFromString('--expose-gc');
  const collect: (options: { readonly type: 'minor' }) => void = runInNewContext('gc');
  return () => collect({ type: 'minor' });
}
