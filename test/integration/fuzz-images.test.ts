import { expect, it } from 'vitest';
import { runManifestFuzz } from '../fuzz/manifest/suite.ts';
import { runTarFuzz } from '../fuzz/tar/suite.ts';

/** Others, and longer runs: `npm run fuzz -- tar` and `npm run fuzz -- manifest`. */
const seed = Number(process.env.BERTH_FUZZ_SEED ?? 1);

it(`takes archives, right and wrong, as they are to be taken, seed ${seed}`, async () => {
  const { failures, sequences } = await runTarFuzz({ seed, budgetMs: 6_000, maxSequences: 900, args: [] });
  expect(failures.join('\n')).toBe('');
  expect(sequences).toBeGreaterThan(0);
});

it(`takes manifests, right and wrong, as they are to be taken, seed ${seed}`, async () => {
  const { failures, sequences } = await runManifestFuzz({ seed, budgetMs: 4_000, maxSequences: 2_000, args: [] });
  expect(failures.join('\n')).toBe('');
  expect(sequences).toBeGreaterThan(0);
});
