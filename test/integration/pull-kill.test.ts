import { afterAll, beforeAll, expect, it } from 'vitest';
import { killPulls } from '../support/pull-kills.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';

let dir: string;
beforeAll(() => {
  dir = scratchDir();
});
afterAll(() => removeScratch(dir));

it('a pull that kill -9 cuts short is gone on with: nothing much is fetched twice, and nothing is left over', async () => {
  const figures = await killPulls({ dir, seed: Date.now() % 1_000_000, points: 4, layerSize: 24 * 1024 * 1024 });
  expect(figures.points).toBe(4);
});
