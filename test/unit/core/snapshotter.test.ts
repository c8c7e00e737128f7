import { chmodSync, linkSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Mount } from '../../../apps/core/snapshots/snapshotter.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let stores: TestStores;
beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

const below = (path: string): string => join(dir, 'snapshots/overlayfs', path);
const option = (mount: Mount | undefined, name: string): string | undefined =>
  mount?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);

/** Makes committed snapshots, each on top of the one before. */
async function layers(...names: string[]): Promise<void> {
  let parent = '';
  for (const name of names) {
    await stores.snapshotter.prepare('n', `extract-${name}`, parent);
    await stores.snapshotter.commit('n', name, `extract-${name}`);
    parent = name;
  }
}

describe('the overlay snapshotter', () => {
  it('binds a snapshot without a parent, writable or read-only', async () => {
    const [active] = await stores.snapshotter.prepare('n', 'a', '');
    expect(active).toEqual({ type: 'bind', source: below('1/fs'), options: ['rw', 'rbind'] });
    expect(await stores.snapshotter.mounts('n', 'a')).toEqual([active]);
    const [view] = await stores.snapshotter.view('n', 'v', '');
    expect(view).toEqual({ type: 'bind', source: below('2/fs'), options: ['ro', 'rbind'] });
    expect(stores.published.map(({ topic }) => topic)).toEqual(['/snapshot/prepare']);
  });

  it('stacks a writable snapshot on its parents, nearest first', async () => {
    await layers('one', 'two', 'three');
    const [mount, ...others] = await stores.snapshotter.prepare('n', 'top', 'three');
    expect(others).toEqual([]);
    expect(mount).toMatchObject({ type: 'overlay', source: 'overlay' });
    expect(option(mount, 'upperdir')).toBe(below('4/fs'));
    expect(option(mount, 'workdir')).toBe(below('4/work'));
    expect(option(mount, 'lowerdir')).toBe([3, 2, 1].map((id) => below(`${id}/fs`)).join(':'));
    expect(readdirSync(below('4')).sort()).toEqual(['fs', 'work']);
  });

  it('views one layer by a bind mount, several by an overlay without an upper directory', async () => {
    await layers('one', 'two');
    expect(await stores.snapshotter.view('n', 'v1', 'one')).toEqual([
      { type: 'bind', source: below('1/fs'), options: ['ro', 'rbind'] },
    ]);
    const [mount] = await stores.snapshotter.view('n', 'v2', 'two');
    expect(option(mount, 'lowerdir')).toBe(`${below('2/fs')}:${below('1/fs')}`);
    expect(option(mount, 'upperdir')).toBeUndefined();
  });

  it('gives the root directory of a snapshot the owner and mode of the one below', async () => {
    await stores.snapshotter.prepare('n', 'a', '');
    chmodSync(below('1/fs'), 0o1750);
    await stores.snapshotter.commit('n', 'base', 'a');
    await stores.snapshotter.prepare('n', 'b', 'base');
    expect(statSync(below('2/fs')).mode & 0o7777).toBe(0o1750);
    expect(statSync(below('2')).mode & 0o777).toBe(0o700);
  });

  it('refuses a taken key or name, a missing parent and one that is not committed', async () => {
    await layers('base');
    await stores.snapshotter.prepare('n', 'a', 'base');
    const refused = (promise: Promise<unknown>, code: string) => expect(promise).rejects.toMatchObject({ code });
    await refused(stores.snapshotter.prepare('n', 'a', ''), 'already_exists');
    await refused(stores.snapshotter.view('n', 'base', ''), 'already_exists');
    await refused(stores.snapshotter.prepare('n', 'b', 'nowhere'), 'not_found');
    await refused(stores.snapshotter.prepare('other', 'b', 'base'), 'not_found');
    await refused(stores.snapshotter.prepare('n', 'b', 'a'), 'invalid_argument');
    await refused(stores.snapshotter.prepare('n', '', ''), 'invalid_argument');
    await refused(stores.snapshotter.commit('n', 'base', 'a'), 'already_exists');
    await refused(stores.snapshotter.commit('n', 'x', 'nowhere'), 'not_found');
    await refused(stores.snapshotter.commit('n', 'x', 'base'), 'failed_precondition');
    await refused(stores.snapshotter.mounts('n', 'base'), 'failed_precondition');
    await refused(stores.snapshotter.mounts('n', 'nowhere'), 'not_found');
    expect(readdirSync(below(''))).toEqual(['1', '2']);
  });

  it('tells an unpacker that the layer is there, and leases it', async () => {
    await layers('sha256:chain');
    stores.leases.create('n', 'l');
    const labels = { 'containerd.io/snapshot.ref': 'sha256:chain' };
    await expect(stores.snapshotter.prepare('n', 'extract-x', '', { labels, lease: 'l' })).rejects.toThrow(
      /target snapshot "sha256:chain" already exists/,
    );
    expect(stores.leases.resources('n', 'l')).toEqual([{ type: 'snapshots/overlayfs', id: 'sha256:chain' }]);
    const other = { 'containerd.io/snapshot.ref': 'sha256:new' };
    await stores.snapshotter.prepare('n', 'extract-y', '', { labels: other, lease: 'l' });
    await stores.snapshotter.commit('n', 'sha256:new', 'extract-y', { lease: 'l' });
    expect(stores.leases.resources('n', 'l').map(({ id }) => id)).toEqual(['sha256:chain', 'sha256:new']);
  });

  it('removes from the top down, rows at once and files soon', async () => {
    await layers('base');
    await stores.snapshotter.prepare('n', 'a', 'base');
    await expect(stores.snapshotter.remove('n', 'base')).rejects.toMatchObject({ code: 'failed_precondition' });
    await stores.snapshotter.remove('n', 'a');
    expect(() => stores.snapshotter.stat('n', 'a')).toThrow(expect.objectContaining({ code: 'not_found' }));
    await stores.snapshotter.remove('n', 'base');
    await stores.snapshotter.cleanup();
    expect(readdirSync(below(''))).toEqual([]);
    await expect(stores.snapshotter.remove('n', 'a')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('clears away the directories of snapshots that never came to be', async () => {
    mkdirSync(below('1/fs'), { recursive: true });
    writeFileSync(below('1/fs/stale'), '');
    mkdirSync(below('77/fs'), { recursive: true });
    await stores.snapshotter.prepare('n', 'a', '');
    expect(readdirSync(below('1/fs'))).toEqual([]);
    await stores.snapshotter.cleanup();
    expect(readdirSync(below(''))).toEqual(['1']);
  });

  it('describes snapshots, lists them by filter and changes their labels', async () => {
    await layers('base');
    await stores.snapshotter.prepare('n', 'a', 'base', { labels: { k: 'v' } });
    await stores.snapshotter.view('n', 'v', 'base');
    expect(stores.snapshotter.stat('n', 'a')).toMatchObject({ kind: 'active', name: 'a', parent: 'base' });
    expect(stores.snapshotter.stat('n', 'base')).toMatchObject({ kind: 'committed', parent: undefined, labels: {} });
    const names = (...filters: string[]): string[] => stores.snapshotter.list('n', filters).map(({ name }) => name);
    expect(names()).toEqual(['a', 'base', 'v']);
    expect(names('kind==view')).toEqual(['v']);
    expect(names('parent==base,labels.k==v')).toEqual(['a']);
    expect(names('parent==""')).toEqual(['base']);
    stores.snapshotter.update('n', 'a', { k: '', new: '1' }, ['labels.new']);
    expect(stores.snapshotter.stat('n', 'a').labels).toEqual({ k: 'v', new: '1' });
    expect(() => stores.snapshotter.update('n', 'a', {}, ['parent'])).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });

  it('counts what a snapshot holds, hard links once, and remembers it once committed', async () => {
    await stores.snapshotter.prepare('n', 'a', '');
    mkdirSync(below('1/fs/dir'));
    writeFileSync(below('1/fs/dir/file'), Buffer.alloc(100_000, 1), { flush: true });
    const before = await stores.snapshotter.usage('n', 'a');
    linkSync(below('1/fs/dir/file'), below('1/fs/link'));
    expect(await stores.snapshotter.usage('n', 'a')).toEqual(before);
    expect(before.inodes).toBe(3);
    expect(before.size).toBeGreaterThanOrEqual(100_000);
    await stores.snapshotter.commit('n', 'base', 'a');
    expect(await stores.snapshotter.usage('n', 'base')).toEqual(before);
    writeFileSync(below('1/fs/more'), 'x');
    expect(await stores.snapshotter.usage('n', 'base')).toEqual(before);
    await stores.snapshotter.prepare('n', 'b', 'base');
    await stores.snapshotter.commit('n', 'counted', 'b', { usage: { size: 5, inodes: 6 } });
    expect(await stores.snapshotter.usage('n', 'counted')).toEqual({ size: 5, inodes: 6 });
  });
});
