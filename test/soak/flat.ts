import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonSizes, daemonSize, type SoakBed } from './cri-bed.ts';

/** How much larger a daemon may be at the end: its heap breathes. */
const tolerance = { kib: 40 * 1024, fds: 8 };
const lookEveryMs = 10_000;
/** Daemons take up to 30 s to give back what they needed (spare-memory.ts). */
const looks = { least: 4, most: 12 };

interface Work {
  /** Pieces that are done first: after so many, what is made once is there, and V8 has found its size. */
  readonly warmUp: number;
  /** Pieces that are done then. */
  readonly count: number;
  readonly work: (count: number) => Promise<void>;
  readonly tell: (line: string) => void;
}

/** Parts that the work is done in, by their share of it. */
const parts = [0.5, 0.25, 0.25];

/**
 * Does work, first some to warm up and then the rest in parts: after one of these, both daemons have to be as large as
 * before the first. A heap breathes, and on a busy machine it may be deep in at any one look, but what leaks is there at
 * each.
 *
 * @throws Error naming the daemon that grew
 */
export async function expectFlat(bed: SoakBed, { warmUp, count, work, tell }: Work): Promise<void> {
  await work(warmUp);
  const before = await settledSize(bed);
  tell(`after ${warmUp} to warm up: ${described(before)}`);
  const later: DaemonSizes[] = [];
  let done = 0;
  for (const share of parts) {
    const some = Math.min(Math.ceil(count * share), count - done);
    await work(some);
    done += some;
    const now = await settledSize(bed);
    tell(`after ${done} more: ${described(now)}`);
    later.push(now);
  }
  for (const name of ['berthd', 'cri'] as const) {
    const grown = (of: 'kib' | 'fds') => Math.min(...later.map((sizes) => sizes[name][of])) - before[name][of];
    if (grown('fds') > tolerance.fds) throw new Error(`${name} has more descriptors than before`);
    if (grown('kib') > tolerance.kib) throw new Error(`${name} is larger by more than ${tolerance.kib} KiB`);
  }
}

function described({ berthd, cri }: DaemonSizes): string {
  return `berthd ${berthd.kib} KiB and ${berthd.fds} descriptors, berth-cri ${cri.kib} and ${cri.fds}`;
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
