import { expect, it } from 'vitest';
import { runCriFuzz } from '../fuzz/cri/suite.ts';

/** Others, and longer runs: `npm run fuzz -- cri`. */
const seed = Number(process.env.BERTH_FUZZ_SEED ?? 1);

it(`answers CRI requests, right and wrong, as such, seed ${seed}`, async () => {
  const { failures, sequences } = await runCriFuzz({ seed, budgetMs: 8_000, maxSequences: 20, args: [] });
  expect(failures.join('\n')).toBe('');
  expect(sequences).toBeGreaterThan(0);
});
