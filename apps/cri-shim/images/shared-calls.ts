/** Lets callers that want the same thing at the same time share one call for it. */
export class SharedCalls<T> {
  readonly #calls = new Map<
    string,
    { readonly result: Promise<T>; readonly abort: AbortController; callers: number }
  >();

  /**
   * Joins the call under way for `key`, or starts it. A caller whose `signal` fires leaves with its reason; the call
   * itself is aborted when the last caller has left.
   */
  async run(key: string, start: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const call = this.#calls.get(key) ?? this.#start(key, start);
    call.callers++;
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal?.reason);
    signal?.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([call.result, left.promise]);
    } finally {
      signal?.removeEventListener('abort', leave);
      if (--call.callers === 0) {
        call.abort.abort();
        if (this.#calls.get(key) === call) this.#calls.delete(key);
      }
    }
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<T>) {
    const abort = new AbortController();
    const result = start(abort.signal);
    // A result that every caller has left is of no interest.
    result.catch(() => undefined);
    const call = { result, abort, callers: 0 };
    this.#calls.set(key, call);
    return call;
  }
}
