import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectories } from '#common/make-directories.ts';

describe('makeDirectories', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'berth-mkdirs-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('makes the parents that are missing, with the mode asked for', () => {
    makeDirectories(join(dir, 'a/b/c'), 0o711);
    expect(statSync(join(dir, 'a/b/c')).mode & 0o777).toBe(0o711);
    expect(statSync(join(dir, 'a')).mode & 0o777).toBe(0o711);
  });

  it('leaves a directory that is there as it is', () => {
    makeDirectories(join(dir, 'a'), 0o700);
    makeDirectories(join(dir, 'a'), 0o755);
    expect(statSync(join(dir, 'a')).mode & 0o777).toBe(0o700);
  });

  it('refuses a path that a file stands on', () => {
    writeFileSync(join(dir, 'file'), '');
    expect(() => makeDirectories(join(dir, 'file'), 0o700)).toThrow('EEXIST');
    expect(() => makeDirectories(join(dir, 'file/below'), 0o700)).toThrow('ENOTDIR');
  });

  it('ends, with an error, where a file system takes no directories', () => {
    expect(() => makeDirectories('/proc/no/such', 0o700)).toThrow('ENOENT');
  });
});
