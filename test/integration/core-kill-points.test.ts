import { afterAll, beforeAll, expect, it } from 'vitest';
import { killAtRandom } from '../support/kill-points.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';

let dir: string;
beforeAll(() => {
  dir = scratchDir();
});
afterAll(() => removeScratch(dir));

// `npm run soak -- core` does the same 200 times.
it('nothing is torn, lost or left behind by kill -9 of the core daemon in the midst of pulls, runs and deletes', async () => {
  const figures = await killAtRandom({ dir, seed: 1, points: 6 });
  expect(figures.points).toBe(6);
});
