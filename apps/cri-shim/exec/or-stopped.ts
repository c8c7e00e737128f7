/**
 * A result, or undefined when the signal fires, or `timeoutMs` have passed, first. A limit of 0 is none.
 *
 * By hand: signals that Node joins, or that a timer fires, wait for a major collection.
 */
export async function orStopped<T>(
  result: Promise<T>,
  stop: AbortSignal | undefined,
  timeoutMs = 0,
): Promise<T | undefined> {
  if (stop === undefined && timeoutMs === 0) return result;
  const stopped = Promise.withResolvers<undefined>();
  const onStop = () => stopped.resolve(undefined);
  const timer = timeoutMs === 0 ? undefined : setTimeout(onStop, timeoutMs);
  stop?.addEventListener('abort', onStop, { once: true });
  if (stop?.aborted) onStop();
  try {
    return await Promise.race([result, stopped.promise]);
  } finally {
    clearTimeout(timer);
    stop?.removeEventListener('abort', onStop);
  }
}
