import { inspect } from 'node:util';
import { startBerthd } from '../../support/berthd.ts';
import { busyboxRootfs } from '../../support/busybox-rootfs.ts';
import { removeCgroups } from '../../support/cgroups.ts';
import { containerdVersion, startContainerd } from '../../support/containerd.ts';
import { Random } from '../../support/random.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { shrink } from '../shrink.ts';
import type { FuzzOptions, FuzzReport, FuzzSuite } from '../suite.ts';
import { contentOperations } from './content-operations.ts';
import { differences } from './differences.ts';
import { eventOperations } from './event-operations.ts';
import { metadataOperations } from './metadata-operations.ts';
import { generateSteps, type Operations, type Step } from './operation.ts';
import { oversizedOperation } from './oversized-operation.ts';
import { differingPart } from './part.ts';
import { Side } from './side.ts';
import { snapshotOperations } from './snapshot-operations.ts';
import { taskOperations } from './task-operations.ts';
import { type Mismatch, Trial } from './trial.ts';

const stepsPerSequence = 40;
/** A run that goes wrong all the time needn't go on. */
const maxFailures = 8;

const recordOperations: Operations = {
  ...metadataOperations,
  ...contentOperations,
  ...snapshotOperations,
  ...eventOperations,
  ...oversizedOperation,
};
/** One sequence in so many is about tasks, which take their time. */
const taskSequenceEvery = 10;

export const coreFuzz: FuzzSuite = {
  about: "berthd's API beside that of Debian's containerd (or of the program named as a further word)",
  run: runCoreFuzz,
};

export async function runCoreFuzz({
  seed,
  budgetMs,
  maxSequences = Infinity,
  args: [program],
}: FuzzOptions): Promise<FuzzReport> {
  const dir = scratchDir();
  try {
    await using stack = new AsyncDisposableStack();
    const berthd = await startBerthd({ dir: `${dir}/berthd`, logLevel: 'warn' });
    stack.use(berthd.daemon);
    const ours = stack.use(new Side('berthd', dir, berthd.socket));
    let theirs: Side | undefined;
    const version = containerdVersion(program);
    if (version !== undefined) {
      const peer = await startContainerd({ dir: `${dir}/containerd`, ...(program === undefined ? {} : { program }) });
      stack.use(peer.daemon);
      theirs = stack.use(new Side(`containerd ${version}`, dir, peer.socket));
    }
    busyboxRootfs(`${dir}/rootfs`);
    const trial = new Trial({ ...recordOperations, ...taskOperations }, ours, theirs, differences);
    const random = new Random(seed);
    const failures: string[] = [];
    let sequences = 0;
    let steps = 0;
    const end = performance.now() + budgetMs;
    while (performance.now() < end && sequences < maxSequences && failures.length < maxFailures) {
      sequences += 1;
      const operations = sequences % taskSequenceEvery === 0 ? taskOperations : recordOperations;
      const sequence = generateSteps(operations, random, stepsPerSequence);
      steps += sequence.length;
      const mismatch = await trial.run(sequence);
      if (mismatch === undefined) continue;
      const shortest = await shrink(sequence, async (candidate) => (await trial.run(candidate))?.at === mismatch.at);
      failures.push(describeFailure(shortest, (await trial.run(shortest)) ?? mismatch));
    }
    return { sequences, steps, failures };
  } finally {
    removeScratch(dir);
    removeCgroups(dir.slice(dir.lastIndexOf('/') + 1));
  }
}

function describeFailure(steps: readonly Step[], { at, ours, theirs }: Mismatch): string {
  const show = (value: unknown): string => inspect(value, { depth: 12, breakLength: 110, maxStringLength: 200 });
  const lines = steps.map(({ call, args }) => `  ${call} ${show(args)}`);
  const part = differingPart(ours, theirs);
  const where = part.path === '' ? `"${at}"` : `"${at}", in ${part.path},`;
  return [`differs at ${where} after`, ...lines, `ours: ${show(part.ours)}`, `theirs: ${show(part.theirs)}`].join('\n');
}
