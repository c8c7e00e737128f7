/**
 * `npm run soak -- churn`: pods made, run to their end and removed, 20 at a time. Afterwards nothing is left, and both
 * daemons are as large as after a thousand that came before. `--rounds` is the number of pods, 10,000 unless it is given.
 */
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { soakBed } from './cri-bed.ts';
import { expectFlat } from './flat.ts';
import type { SoakOptions } from './main.ts';

const width = 20;
const warmUp = 1_000;

export async function churnSoak({ rounds = 10_000, handler, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed(handler);
  const churn = async (pods: number): Promise<void> => {
    let left = pods;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        if (left % 500 === 0) tell(`${left} pods to go`);
        await bed.onePod();
      }
    };
    await Promise.all(Array.from({ length: width }, worker));
  };
  // The first pod makes the bridge and the files of its address pool.
  await bed.onePod();
  const before = leakSnapshot(bed.scope);
  await expectFlat(bed, { warmUp, count: rounds, work: churn, tell });
  await expectNoLeaks(bed.scope, before);
}
