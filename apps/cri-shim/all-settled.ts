/**
 * Waits for all of them to end, then fails with the first that failed, in the order given: nothing of an operation runs
 * on while it is taken back.
 */
export async function allSettled<T extends readonly unknown[]>(
  work: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(work);
  const values: unknown[] = results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
  return values as { -readonly [K in keyof T]: Awaited<T[K]> };
}
