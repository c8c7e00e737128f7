import { killAtRandom } from '../support/kill-points.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import type { SoakOptions } from './main.ts';

/** Kills berthd with SIGKILL 200 times under a load of pulls, runs and deletes. */
export async function coreSoak({ seed, rounds = 200, tell }: SoakOptions): Promise<void> {
  const dir = scratchDir();
  const figures = await killAtRandom({ dir, seed, points: rounds, tell });
  tell(JSON.stringify(figures));
  removeScratch(dir);
}
