/**
 * `npm run soak -- SUITE [--seed N] [--rounds N] [--handler NAME]`: long tests with random choices. The seed is printed: the
 * same one makes the same choices again, though the machine's timing is its own.
 */
import { parseArgs } from 'node:util';
import { churnSoak } from './churn.ts';
import { coreSoak } from './core.ts';
import { corpusSoak } from './corpus.ts';
import { execSyncSoak } from './exec-sync.ts';
import { logsSoak } from './logs.ts';
import { portForwardSoak } from './port-forward.ts';
import { pullSoak } from './pull.ts';
import { restartsSoak } from './restarts.ts';
import { shimSoak } from './shim.ts';

export interface SoakOptions {
  readonly seed: number;
  /** undefined: as many as the suite thinks right. */
  readonly rounds: number | undefined;
  /** The runtime handler of pods, such as crun; '' for the default. */
  readonly handler: string;
  readonly tell: (line: string) => void;
}

/** Each throws at the first thing that is wrong. */
const suites: Readonly<Record<string, (options: SoakOptions) => Promise<void>>> = {
  churn: churnSoak,
  core: coreSoak,
  corpus: corpusSoak,
  execsync: execSyncSoak,
  logs: logsSoak,
  portforward: portForwardSoak,
  restarts: restartsSoak,
  pull: pullSoak,
  shim: shimSoak,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string' }, rounds: { type: 'string' }, handler: { type: 'string', default: '' } },
});
const chosen = positionals.map((name) => [name, suites[name]] as const);
const unknown = chosen.find(([, run]) => run === undefined);
if (chosen.length === 0 || unknown !== undefined) {
  console.error(
    `usage: npm run soak -- SUITE... [--seed N] [--rounds N] [--handler NAME]; suites: ${Object.keys(suites).join(', ')}`,
  );
  process.exit(2);
}
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
for (const [name, run] of chosen) {
  const tell = (line: string): void => console.log(`${name}: ${line}`);
  tell(`seed ${seed}`);
  const startedAt = performance.now();
  await run?.({ seed, rounds, handler: values.handler, tell });
  tell(`passed in ${Math.round((performance.now() - startedAt) / 1000)} s (seed ${seed})`);
}
