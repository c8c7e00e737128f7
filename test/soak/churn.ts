/**
 * `npm run soak -- churn`: pods made, run to their end and removed, 20 at a time. Afterwards nothing is left, and both
 * daemons are as large as after the first part. `--rounds` is the number of pods, 10,000 unless it is given.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expectNoLeaks, leakSnapshot } from '../support/leaks.ts';
import { daemonSize, soakBed } from './cri-bed.ts';
import type { SoakOptions } from './main.ts';

const width = 20;
/** Part of the pods after which what is made once is there, and V8 has found its size. */
const warmUp = 0.2;
/** How much larger a daemon may be at the end: its heap breathes. */
const tolerance = { kib: 40 * 1024, fds: 8 };

export async function churnSoak({ rounds = 10_000, tell }: SoakOptions): Promise<void> {
  await using bed = await soakBed();
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
    // Memory is given back some seconds after the last call: at the second look of ten seconds each.
    await sleep(25_000);
  };
  const first = Math.max(width, Math.round(rounds * warmUp));
  await churn(first);
  const before = { leaks: leakSnapshot(bed.scope), sizes: daemonSize(bed) };
  await churn(rounds - first);
  const after = daemonSize(bed);
  for (const name of ['berthd', 'cri'] as const) {
    const [was, is] = [before.sizes[name], after[name]];
    tell(
      `${name}: ${was.kib} KiB and ${was.fds} descriptors after ${first} pods, ${is.kib} and ${is.fds} after ${rounds}`,
    );
    if (is.fds > was.fds + tolerance.fds) throw new Error(`${name} has more descriptors than before`);
    if (is.kib > was.kib + tolerance.kib) throw new Error(`${name} is larger by more than ${tolerance.kib} KiB`);
  }
  await expectNoLeaks(bed.scope, before.leaks);
}
