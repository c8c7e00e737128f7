import { expect, it } from 'vitest';
import { runCoreFuzz } from '../fuzz/core/suite.ts';
import { containerdVersion } from '../support/containerd.ts';

/** Another one, and a longer run: `npm run fuzz -- core`. */
const seed = Number(process.env.BERTH_FUZZ_SEED ?? 1);

it(`answers a sequence of random calls as containerd ${containerdVersion() ?? '(absent: without faults)'} does, seed ${seed}`, async () => {
  const { failures, sequences } = await runCoreFuzz({ seed, budgetMs: 15_000, maxSequences: 60, args: [] });
  expect(failures.join('\n')).toBe('');
  expect(sequences).toBeGreaterThan(0);
});
