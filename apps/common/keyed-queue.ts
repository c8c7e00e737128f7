import { BerthError } from './errors.ts';

/** Runs tasks of one key one after another, in the order they came; tasks of different keys run side by side. */
export class KeyedQueue {
  /** The last task queued for each key; it never rejects. */
  readonly #tails = new Map<string, Promise<void>>();

  /**
   * Runs `fn` once every earlier task of `key` has ended, and answers its result.
   * A task whose `signal` fires while it waits is never run: its promise rejects at once with the signal's reason.
   * A task that runs already isn't interrupted from here; it watches the signal itself.
   */
  run<T>(key: string, fn: () => Promise<T> | T, options: { signal?: AbortSignal | undefined } = {}): Promise<T> {
    const turn = this.#tails.get(key) ?? Promise.resolve();
    const result = turn.then(() => {
      if (options.signal?.aborted) throw BerthError.from(options.signal.reason);
      return fn();
    });
    const tail: Promise<void> = result.then(
      () => this.#leave(key, tail),
      () => this.#leave(key, tail),
    );
    this.#tails.set(key, tail);
    return options.signal === undefined ? result : this.#untilAborted(turn, result, options.signal);
  }

  /** How many keys have a task that runs or waits. */
  get size(): number {
    return this.#tails.size;
  }

  #leave(key: string, tail: Promise<void>): void {
    if (this.#tails.get(key) === tail) this.#tails.delete(key);
  }

  /** `result`, unless the signal fires before the task's turn has come. */
  async #untilAborted<T>(turn: Promise<void>, result: Promise<T>, signal: AbortSignal): Promise<T> {
    const aborted = Promise.withResolvers<'aborted'>();
    const onAbort = () => aborted.resolve('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    const first = await Promise.race([turn, aborted.promise]);
    signal.removeEventListener('abort', onAbort);
    if (first !== 'aborted') return result;
    // The queue still holds the task; when its turn comes it sees the aborted signal and rejects, unheard.
    result.catch(() => undefined);
    throw BerthError.from(signal.reason);
  }
}
