/**
 * `npm test`: every check and every test, one after another, cheapest first. The last line on stdout is
 * `N passed, N failed, N skipped`, where a check counts as one; the exit code is non-zero when anything failed.
 *
 * `npm test -- FILTER...` runs only the test files whose path contains a filter, without the checks.
 */
import { spawn } from 'node:child_process';
import { runProject } from './run-project.ts';
import { Tally } from './tally.ts';

const biome = ['biome', 'check', '--error-on-warnings'];
const borders = ['--only=style/noRestrictedImports', '--only=suspicious/noImportCycles'];

/** Name and command of each check; the commands are in node_modules/.bin, which npm puts on the PATH. */
const checks: readonly (readonly [string, readonly string[]])[] = [
  ['formatting and lint', [...biome, '.']],
  ['borders between the programs, import cycles', ['biome', 'lint', '--error-on-warnings', ...borders, 'apps']],
  ['types', ['tsc', '--noEmit']],
];

const filters = process.argv.slice(2);
const tally = new Tally();
if (filters.length === 0) for (const [name, command] of checks) await check(name, command);
await runProject('unit', filters, tally);
await runProject('integration', filters, tally);

for (const { name, reason } of tally.skips) console.log(`skipped: ${name}: ${reason}`);
for (const failure of tally.failures) console.log(`failed: ${failure}`);
console.log(`${tally.passed} passed, ${tally.failures.length} failed, ${tally.skips.length} skipped`);
process.exit(tally.failures.length === 0 ? 0 : 1);

async function check(name: string, [program = '', ...args]: readonly string[]): Promise<void> {
  console.log(`check: ${name}`);
  const child = spawn(program, args, { stdio: 'inherit' });
  const { promise, resolve } = Promise.withResolvers<boolean>();
  child.once('error', () => resolve(false));
  child.once('exit', (code) => resolve(code === 0));
  if (await promise) tally.pass();
  else tally.fail(`check: ${name}`);
}
