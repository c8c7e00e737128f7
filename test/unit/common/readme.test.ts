import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import manifest from '../../../package.json' with { type: 'json' };

const repository = join(import.meta.dirname, '../../..');
const readme = readFileSync(join(repository, 'README.md'), 'utf8');

test('the files and folders that the README names are there', () => {
  const whole = [...readme.matchAll(/`((?:apps|deploy|proto|test)\/[\w./*-]*)`/g)].map(([, path = '']) => path);
  expect(whole.length).toBeGreaterThan(10);
  expect(whole.filter((path) => !existsSync(join(repository, path)))).toEqual([]);

  // Within the walk through a pod, a name without its program stands for a file of the program that was named last.
  const short = [...readme.matchAll(/`([a-z][\w/-]*\.ts)`/g)].map(([, path = '']) => path);
  const missing = short.filter(
    (path) => !path.startsWith('apps/') && globSync(`apps/**/${path}`, { cwd: repository }).length === 0,
  );
  expect(missing).toEqual([]);
});

test('the npm scripts that the README names are there', () => {
  const named = [...readme.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name);
  const scripts = Object.keys(manifest.scripts);
  expect(named.filter((name) => !scripts.includes(name))).toEqual([]);
});
