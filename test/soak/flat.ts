import { setTimeout as sleep } from 'node:timers/promises';
import { daemonSize, type SoakBed } from './cri-bed.ts';

/** How much larger a daemon may be at the end: its heap breathes. */
const tolerance = { kib: 40 * 1024, fds: 8 };
/** Part of the work after which what is made once is there, and V8 has found its size. */
const warmUp = 0.2;

/**
 * Does `count` pieces of work, in two parts: both daemons have to be as large after the second as after the first.
 *
 * @throws Error naming the daemon that grew
 */
export async function expectFlat(
  bed: SoakBed,
  count: number,
  work: (count: number) => Promise<void>,
  tell: (line: string) => void,
): Promise<void> {
  const first = Math.max(1, Math.round(count * warmUp));
  // Memory is given back some seconds after the last call: at the second look of ten seconds each.
  const settled = async () => {
    await sleep(25_000);
    return daemonSize(bed);
  };
  await work(first);
  const before = await settled();
  await work(count - first);
  const after = await settled();
  for (const name of ['berthd', 'cri'] as const) {
    const [was, is] = [before[name], after[name]];
    tell(`${name}: ${was.kib} KiB and ${was.fds} descriptors after ${first}, ${is.kib} and ${is.fds} after ${count}`);
    if (is.fds > was.fds + tolerance.fds) throw new Error(`${name} has more descriptors than before`);
    if (is.kib > was.kib + tolerance.kib) throw new Error(`${name} is larger by more than ${tolerance.kib} KiB`);
  }
}
