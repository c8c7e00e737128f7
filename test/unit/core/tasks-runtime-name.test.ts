import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RuntimeNames, shimFileName } from '../../../apps/core/tasks/runtime-name.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

describe('runtime names', () => {
  const dir = scratchDir();
  const own = join(dir, 'dist/containerd-shim-berth-v1');
  const names = new RuntimeNames({ shimBinary: own, path: `${join(dir, 'bin')}:relative` });

  beforeAll(() => {
    for (const path of [
      'dist/containerd-shim-berth-v1',
      'dist/containerd-shim-beside-v1',
      'bin/containerd-shim-runsc-v1',
    ]) {
      mkdirSync(join(dir, path, '..'), { recursive: true });
      writeFileSync(join(dir, path), '#!/bin/sh\n');
      chmodSync(join(dir, path), 0o755);
    }
    writeFileSync(join(dir, 'bin/containerd-shim-data-v1'), '');
  });
  afterAll(() => removeScratch(dir));

  it.each([
    ['io.containerd.runc.v2', 'containerd-shim-runc-v2'],
    ['io.containerd.runsc.v1', 'containerd-shim-runsc-v1'],
    ['runc.v2', 'containerd-shim-runc-v2'],
    ['com.example.deep.name.v3', 'containerd-shim-name-v3'],
  ])('%s stands for %s', (name, file) => {
    expect(shimFileName(name)).toBe(file);
  });

  it.each(['', 'runc', '.v2', 'io.containerd.', 'io..v2', 'io/containerd.runc.v2'])('%j is no runtime name', (name) => {
    expect(shimFileName(name)).toBeUndefined();
    expect(() => names.resolve(name)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('takes io.containerd.runc.v2 for our own shim', () => {
    expect(names.resolve('io.containerd.runc.v2')).toBe(own);
    expect(names.resolve('io.containerd.berth.v1')).toBe(own);
    expect(names.drivesRunc(own)).toBe(true);
  });

  it('leaves the name to the shim on PATH when the configuration names another default', () => {
    const other = new RuntimeNames({ shimBinary: own, defaultRuntime: 'io.containerd.berth.v1', path: '' });
    expect(() => other.resolve('io.containerd.runc.v2')).toThrow('containerd-shim-runc-v2 is not installed');
  });

  it('finds other shims on PATH, then beside our own, never in a relative folder', () => {
    expect(names.resolve('io.containerd.runsc.v1')).toBe(join(dir, 'bin/containerd-shim-runsc-v1'));
    expect(names.resolve('io.containerd.beside.v1')).toBe(join(dir, 'dist/containerd-shim-beside-v1'));
    expect(names.drivesRunc(names.resolve('io.containerd.runsc.v1'))).toBe(false);
  });

  it('takes an absolute path as it is', () => {
    expect(names.resolve(own)).toBe(own);
  });

  it.each(['io.containerd.missing.v1', 'io.containerd.data.v1', '/nowhere/containerd-shim-x-v1'])(
    'says of %s that it is not installed',
    (name) => {
      expect(() => names.resolve(name)).toThrow(expect.objectContaining({ code: 'failed_precondition' }));
    },
  );
});
