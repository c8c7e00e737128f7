import { relative } from 'node:path';
import { startVitest, type TestModule, type Vitest } from 'vitest/node';
import type { Tally } from './tally.ts';

/** Runs the test files of one project of vitest.config.ts, showing progress, and counts their tests. */
export async function runProject(project: string, filters: readonly string[], tally: Tally): Promise<void> {
  console.log(`tests: ${project}`);
  const vitest = await startVitest('test', [...filters], { project: [project], watch: false, passWithNoTests: true });
  try {
    for (const module of vitest.state.getTestModules()) countModule(module, tally);
    for (const error of vitest.state.getUnhandledErrors()) tally.fail(`${project}: ${errorText(error)}`);
  } finally {
    await closeQuietly(vitest);
  }
}

function countModule(module: TestModule, tally: Tally): void {
  const file = relative(process.cwd(), module.moduleId);
  // Errors outside of tests: the file didn't load, or a hook failed.
  const errors = [module, ...module.children.allSuites()].flatMap((suite) => suite.errors());
  for (const error of errors) tally.fail(`${file}: ${errorText(error)}`);
  for (const test of module.children.allTests()) {
    const name = `${file}: ${test.fullName}`;
    const result = test.result();
    if (result.state === 'passed') tally.pass();
    else if (result.state === 'failed') tally.fail(name);
    else if (result.state === 'skipped') tally.skip(name, result.note ?? 'the test gives no reason');
    else if (errors.length === 0) tally.fail(`${name}: it did not finish`);
  }
}

/** vitest sets the exit code itself; this runner's own exit code speaks for all. */
async function closeQuietly(vitest: Vitest): Promise<void> {
  await vitest.close();
  process.exitCode = 0;
}

function errorText(error: unknown): string {
  const text =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  return text.split('\n')[0] ?? text;
}
