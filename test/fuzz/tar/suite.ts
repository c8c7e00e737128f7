import { inspect } from 'node:util';
import { LayerApplier } from '../../../apps/core/diff/apply.ts';
import { Random } from '../../support/random.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { type TarMember, tarArchive } from '../../support/tar-archive.ts';
import { shrink } from '../shrink.ts';
import type { FuzzOptions, FuzzReport, FuzzSuite } from '../suite.ts';
import { damaged, hostileMembers } from './hostile-members.ts';
import { readAsText } from './read.ts';
import { Bed } from './trees.ts';
import { validMembers } from './valid-members.ts';

const MAX_FAILURES = 8;
/** Archives that are only read, which costs next to nothing, for each that is unpacked by a process of its own. */
const READ_PER_UNPACKED = 40;

export const tarFuzz: FuzzSuite = {
  about:
    'archives, right, damaged and hostile: read in any pieces, unpacked, and compared with what GNU tar makes of them',
  run: runTarFuzz,
};

/** What is wrong with how the members are taken; undefined when nothing is. */
type Trial = (members: readonly TarMember[]) => Promise<string | undefined>;

export async function runTarFuzz({ seed, budgetMs, maxSequences = Infinity }: FuzzOptions): Promise<FuzzReport> {
  const dir = scratchDir();
  using applier = new LayerApplier(`${dir}/cache`);
  const bed = new Bed(dir, applier);
  const random = new Random(seed);
  const failures: string[] = [];
  let sequences = 0;
  let steps = 0;
  const end = performance.now() + budgetMs;
  try {
    while (performance.now() < end && sequences < maxSequences && failures.length < MAX_FAILURES) {
      const [trial, members] = trialOf(bed, random, sequences % READ_PER_UNPACKED === 0);
      sequences += 1;
      steps += members.length;
      const wrong = await trial(members);
      if (wrong === undefined) continue;
      const shortest = await shrink(members, async (some) => (await trial(some)) !== undefined);
      const shown = inspect(shortest, { depth: 4, maxStringLength: 100, breakLength: 110 });
      failures.push(`${(await trial(shortest)) ?? wrong}\nfor ${shown}`);
    }
    return { sequences, steps, failures };
  } finally {
    removeScratch(dir);
  }
}

/** Everything random is settled here, so that a trial comes out the same each time. */
function trialOf(bed: Bed, random: Random, unpacked: boolean): [Trial, TarMember[]] {
  const seed = random.int(2 ** 31);
  if (unpacked && random.chance(0.4)) return [(members) => bed.valid(tarArchive(members)), validMembers(random)];
  const members = random.chance(0.5) ? hostileMembers(random) : validMembers(random);
  const isDamaged = random.chance(0.5);
  const archiveOf = (some: readonly TarMember[]): Buffer =>
    isDamaged ? damaged(tarArchive(some), new Random(seed)) : tarArchive(some);
  const style = random.pick(['bind', 'overlay'] as const);
  return [
    unpacked ? (some) => bed.hostile(archiveOf(some), style) : (some) => readTwice(archiveOf(some), seed),
    members,
  ];
}

async function readTwice(archive: Buffer, seed: number): Promise<string | undefined> {
  try {
    const [first, second] = [1, 2].map((more) => readAsText(archive, new Random(seed + more)));
    return first === second ? undefined : `reads differently in other pieces: ${first} and ${second}`;
  } catch (error) {
    return `breaks the reader: ${error instanceof Error ? error.stack : error}`;
  }
}
