import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moveToCgroup, shimCgroupOf } from '#common/cgroup/shim-cgroup.ts';
import { typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let root: string;
beforeEach(() => {
  root = scratchDir();
});
afterEach(() => removeScratch(root));

/** A cgroup as the kernel shows it, in a tree of ordinary files. */
function makeCgroup(...path: string[]): string {
  const folder = join(root, ...path);
  mkdirSync(folder, { recursive: true });
  const list = join(folder, 'cgroup.procs');
  writeFileSync(list, '');
  return list;
}

describe("a shim's cgroup", () => {
  it('is the one that the runtime options name', () => {
    const value = encode('containerd.runc.v1.Options', { shimCgroup: '/a/b' });
    expect(shimCgroupOf({ type_url: typeUrls.runcOptions, value })).toBe('/a/b');
    expect(shimCgroupOf({ type_url: 'other.Options', value })).toBe('');
    expect(shimCgroupOf(null)).toBe('');
  });

  it('is joined in every hierarchy of v1 that has it', () => {
    const lists = [makeCgroup('pids', 'a/b'), makeCgroup('memory', 'a/b')];
    const other = makeCgroup('cpu', 'a');
    moveToCgroup(42, '/a/b', root);
    expect(lists.map((list) => readFileSync(list, 'utf8'))).toEqual(['42', '42']);
    expect(readFileSync(other, 'utf8')).toBe('');
  });

  it('is joined in the one hierarchy of v2', () => {
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu memory');
    const list = makeCgroup('a/b');
    moveToCgroup(42, '/a/b', root);
    expect(readFileSync(list, 'utf8')).toBe('42');
  });

  it.each([
    ['a/b', 'invalid_argument'],
    ['/a/../../b', 'invalid_argument'],
    ['/missing', 'not_found'],
  ])('%s is refused', (path, code) => {
    makeCgroup('pids', 'a/b');
    expect(() => moveToCgroup(42, path, root)).toThrow(expect.objectContaining({ code }));
  });
});
