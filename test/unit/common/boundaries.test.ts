import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const repository = join(import.meta.dirname, '../../..');
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-boundaries-'));
  cpSync(join(repository, 'biome.json'), join(directory, 'biome.json'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Lints a tree of the given files with the repository's own rules; answers the rules that fired. */
function rulesFor(files: Readonly<Record<string, string>>): string[] {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(directory, dirname(path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
  const { stdout, status } = spawnSync(
    join(repository, 'node_modules/.bin/biome'),
    ['lint', '--vcs-enabled=false', '--reporter=json', '.'],
    { cwd: directory, encoding: 'utf8' },
  );
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { category: string; severity: string }[] };
  const rules = diagnostics.map(({ category }) => category.replace('lint/', ''));
  expect(status === 0, rules.join()).toBe(rules.length === 0);
  return rules;
}

const program = "export const answer = 42;\nexport const more = ['a'];\n";

describe('an import is refused', () => {
  test.each([
    ['common', '../core/x.ts', 'core/x.ts'],
    ['common', '../../cri-shim/x.ts', 'cri-shim/x.ts', 'common/deep'],
    ['common', '#common/../task-shim/x.ts', 'task-shim/x.ts'],
    ['core', '../cri-shim/x.ts', 'cri-shim/x.ts'],
    ['core', '../../task-shim/x.ts', 'task-shim/x.ts', 'core/deep'],
    ['cri-shim', '../core/deep/x.ts', 'core/deep/x.ts'],
    ['task-shim', '../core/x.ts', 'core/x.ts'],
    ['task-shim', '../cli/x.ts', 'cli/x.ts'],
    ['cli', '../cri-shim/x.ts', 'cri-shim/x.ts'],
    ['cli', '../../test/x.ts', '../test/x.ts'],
  ])('from %s of %s', (from, specifier, target, folder = from) => {
    const rules = rulesFor({
      [`apps/${folder}/offender.ts`]: `import { answer } from '${specifier}';\n\nexport const doubled = answer * 2;\n`,
      [`apps/${target}`]: program,
    });
    expect(rules).toContain('style/noRestrictedImports');
  });

  test('when it closes a cycle', () => {
    const rules = rulesFor({
      'apps/core/a.ts': "import { b } from './b.ts';\n\nexport const a = () => b;\n",
      'apps/core/b.ts': "import { a } from './a.ts';\n\nexport const b = () => a;\n",
    });
    expect(rules).toContain('suspicious/noImportCycles');
  });
});

describe('an import is allowed', () => {
  test('of common from a program, and within a program', () => {
    const rules = rulesFor({
      'package.json': '{ "imports": { "#common/*": "./apps/common/*" } }\n',
      'apps/core/deep/user.ts':
        "import { answer } from '#common/x.ts';\nimport { more } from '../y.ts';\n\nexport const all = [answer, more];\n",
      'apps/core/y.ts': program,
      'apps/common/x.ts': program,
    });
    expect(rules).toEqual([]);
  });
});
