/** Does `work` for 0 … count - 1, so many at a time; answers the results in order. */
export async function forEachAtOnce<T>(count: number, width: number, work: (n: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const n = next++;
      results[n] = await work(n);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
