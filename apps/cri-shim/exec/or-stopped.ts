/** A result, or undefined when the signal fires first. */
export async function orStopped<T>(result: Promise<T>, stop: AbortSignal | undefined): Promise<T | undefined> {
  if (stop === undefined) return result;
  const stopped = Promise.withResolvers<undefined>();
  const onStop = () => stopped.resolve(undefined);
  stop.addEventListener('abort', onStop, { once: true });
  if (stop.aborted) onStop();
  try {
    return await Promise.race([result, stopped.promise]);
  } finally {
    stop.removeEventListener('abort', onStop);
  }
}
