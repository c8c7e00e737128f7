import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonSizes, daemonSize, type SoakBed } from './cri-bed.ts';

/** How much larger a daemon may be at the end: its heap breathes. */
const tolerance = { kib: 40 * 1024, fds: 8 };
const lookEveryMs = 10_000;
const looks = { least: 3, most: 12 };
interface Work {
  /** Pieces that are done first: after so many, what is made once is there, and V8 has found its size. */
  readonly warmUp: number;
  /** Pieces that are done then. */
  readonly count: number;
  readonly work: (count: number) => Promise<void>;
  readonly tell: (line: string) => void;
}

/**
 * Does work in two parts: both daemons have to be as large after the second as after the first.
 *
 * @throws Error naming the daemon that grew
 */
export async function expectFlat(bed: SoakBed, { warmUp, count, work, tell }: Work): Promise<void> {
  await work(warmUp);
  const before = await settledSize(bed);
  tell(`${warmUp} to warm up, ${count} follow`);
  await work(count);
  const after = await settledSize(bed);
  for (const name of ['berthd', 'cri'] as const) {
    const [was, is] = [before[name], after[name]];
    tell(`${name}: ${was.kib} KiB and ${was.fds} descriptors before, ${is.kib} and ${is.fds} after ${count}`);
    if (is.fds > was.fds + tolerance.fds) throw new Error(`${name} has more descriptors than before`);
    if (is.kib > was.kib + tolerance.kib) throw new Error(`${name} is larger by more than ${tolerance.kib} KiB`);
  }
}

/** Memory is given back some seconds after the last call, in several steps: the size is taken once it falls no more. */
async function settledSize(bed: SoakBed): Promise<DaemonSizes> {
  await sleep(lookEveryMs);
  let size = daemonSize(bed);
  for (let look = 2; look <= looks.most; look++) {
    await sleep(lookEveryMs);
    const next = daemonSize(bed);
    const falls = next.berthd.kib < size.berthd.kib || next.cri.kib < size.cri.kib;
    size = next;
    if (look >= looks.least && !falls) break;
  }
  return size;
}
