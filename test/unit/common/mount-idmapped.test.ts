import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountOn } from '#common/mount.ts';
import { splitIdMap } from '#common/mount-idmapped.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const maps = ['uidmap=0:10000:1000,1000:70000:10', 'gidmap=0:20000:1000,1000:80000:10'];

describe("the id map in a mount's options", () => {
  it('is taken out of them, in the form that the kernel takes', () => {
    expect(splitIdMap(['ro', ...maps, 'index=off'])).toEqual({
      idMap: { uids: '0 10000 1000\n1000 70000 10\n', gids: '0 20000 1000\n1000 80000 10\n' },
      rest: ['ro', 'index=off'],
    });
    expect(splitIdMap(['ro'])).toEqual({ idMap: undefined, rest: ['ro'] });
  });

  it.each([
    [['uidmap=0:1:1']],
    [['uidmap=0:1', 'gidmap=0:1:1']],
    [['uidmap=-1:1:1', 'gidmap=0:1:1']],
    [['uidmap=', 'gidmap=']],
  ])('%j is refused', (options) => {
    expect(() => splitIdMap(options)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe.skipIf(process.getuid?.() !== 0)('an id-mapped mount', () => {
  let dir: string;
  let root: string;

  beforeEach(() => {
    dir = scratchDir();
    root = join(dir, 'root');
    for (const folder of ['root', 'layers/1', 'layers/2', 'upper', 'work']) {
      mkdirSync(join(dir, folder), { recursive: true });
    }
    writeFileSync(join(dir, 'layers/1/low'), 'low');
    writeFileSync(join(dir, 'layers/2/high'), 'high');
  });
  afterEach(() => {
    try {
      for (;;) umount(root, MNT.DETACH);
    } catch (error) {
      if (!hasErrno(error, 'EINVAL')) throw error;
    }
    removeScratch(dir);
  });

  const ownerOf = (name: string): number[] => {
    const { uid, gid } = statSync(join(root, name));
    return [uid, gid];
  };

  it('of an overlay shows its layers mapped, leaves them alone and nothing beside', () => {
    const layers = `lowerdir=${dir}/layers/2:${dir}/layers/1`;
    const options = [...maps, layers, `upperdir=${dir}/upper`, `workdir=${dir}/work`];
    mountOn({ type: 'overlay', source: 'overlay', target: '', options }, root);
    expect([ownerOf('low'), ownerOf('high')]).toEqual([
      [10_000, 20_000],
      [10_000, 20_000],
    ]);
    writeFileSync(join(root, 'low'), 'changed');
    expect(readFileSync(join(dir, 'layers/1/low'), 'utf8')).toBe('low');
    expect(statSync(join(dir, 'layers/1/low')).uid).toBe(0);
    expect(readdirSync(dir).sort()).toEqual(['layers', 'root', 'upper', 'work']);
  });

  it('of a folder shows its files mapped, and can be read-only', () => {
    mountOn({ type: 'bind', source: join(dir, 'layers/1'), target: '', options: ['rbind', 'ro', ...maps] }, root);
    expect(ownerOf('low')).toEqual([10_000, 20_000]);
    expect(() => writeFileSync(join(root, 'low'), 'changed')).toThrow('EROFS');
  });

  it('leaves nothing when the overlay can not be made', () => {
    const options = [...maps, `lowerdir=${dir}/layers/2:${dir}/layers/nowhere`];
    expect(() => mountOn({ type: 'overlay', source: 'overlay', target: '', options }, root)).toThrow();
    expect(readdirSync(dir).sort()).toEqual(['layers', 'root', 'upper', 'work']);
  });
});
