/**
 * A short list that still fails: pieces of it, halves first, single steps last, are left out as long as the rest fails
 * (after Zeller's ddmin). `fails` is asked `attempts` times at most.
 */
export async function shrink<T>(
  steps: readonly T[],
  fails: (steps: readonly T[]) => Promise<boolean>,
  attempts = 120,
): Promise<readonly T[]> {
  let shortest = steps;
  let left = attempts;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < shortest.length && left > 0; ) {
      const candidate = [...shortest.slice(0, at), ...shortest.slice(at + size)];
      left -= 1;
      if (candidate.length < shortest.length && (await fails(candidate))) shortest = candidate;
      else at += size;
    }
  }
  return shortest;
}
