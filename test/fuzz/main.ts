/**
 * `npm run fuzz -- SUITE [--seed N] [--minutes N] [WORD...]`: random inputs until the time is over. The seed is printed
 * first and gives the same inputs again; a failure comes with the shortest sequence that was found to show it.
 */
import { parseArgs } from 'node:util';
import { coreFuzz } from './core/suite.ts';
import { criFuzz } from './cri/suite.ts';
import { manifestFuzz } from './manifest/suite.ts';
import type { FuzzSuite } from './suite.ts';
import { tarFuzz } from './tar/suite.ts';

const suites: Readonly<Record<string, FuzzSuite>> = {
  core: coreFuzz,
  cri: criFuzz,
  tar: tarFuzz,
  manifest: manifestFuzz,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: 'string' }, minutes: { type: 'string', default: '5' } },
});
const [name = '', ...args] = positionals;
const suite = Object.hasOwn(suites, name) ? suites[name] : undefined;
if (suite === undefined) {
  console.error('usage: npm run fuzz -- SUITE [--seed N] [--minutes N] [WORD...]\n\nSUITE is one of');
  for (const [known, { about }] of Object.entries(suites)) console.error(`  ${known}: ${about}`);
  process.exit(2);
}
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
console.log(`fuzz ${name}: --seed ${seed}`);
const report = await suite.run({ seed, budgetMs: Number(values.minutes) * 60_000, args });
for (const failure of report.failures) console.log(`\n${failure}`);
console.log(`${report.sequences} sequences, ${report.steps} steps, ${report.failures.length} failures, seed ${seed}`);
process.exit(report.failures.length === 0 ? 0 : 1);
