import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Snapshotter } from '../../../apps/core/snapshots/snapshotter.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { whileMounted } from '../../support/mounted.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const isRoot = process.getuid?.() === 0;
const snapshotRef = 'containerd.io/snapshot.ref';

/* What every snapshotter does. */
for (const name of ['overlayfs', 'native']) {
  describe(`the snapshotter ${name}`, () => {
    let dir: string;
    let stores: TestStores;
    let snapshotter: Snapshotter;
    const open = (): void => {
      stores = testStores(dir);
      snapshotter = stores.snapshotters.named(name);
    };
    beforeEach(() => {
      dir = scratchDir();
      open();
    });
    afterEach(async () => {
      await stores.close();
      removeScratch(dir);
    });

    const below = (path = ''): string => join(dir, 'snapshots', name, path);
    const refused = (promise: Promise<unknown>, code: string) => expect(promise).rejects.toMatchObject({ code });
    const names = (...filters: string[]): string[] => Array.from(snapshotter.list('n', filters), (info) => info.name);
    const topics = (): string[] => stores.published.map(({ topic }) => topic);
    const leased = (): string[] => stores.leases.resources('n', 'l').map(({ type, id }) => `${type} ${id}`);

    /** Makes committed snapshots, each on top of the one before. */
    async function layers(...layerNames: string[]): Promise<void> {
      let parent = '';
      for (const layer of layerNames) {
        await snapshotter.prepare('n', `extract-${layer}`, parent);
        await snapshotter.commit('n', layer, `extract-${layer}`);
        parent = layer;
      }
    }

    it('answers the mounts of a snapshot as often as it is asked, alike', async () => {
      await layers('base');
      const active = await snapshotter.prepare('n', 'a', 'base');
      const view = await snapshotter.view('n', 'v', 'base');
      expect(await snapshotter.mounts('n', 'a')).toEqual(active);
      expect(await snapshotter.mounts('n', 'v')).toEqual(view);
    });

    it('tells of what it prepares, commits and removes, and not of views', async () => {
      await snapshotter.prepare('n', 'a', '');
      await snapshotter.view('n', 'v', '');
      await snapshotter.commit('n', 'base', 'a');
      await snapshotter.remove('n', 'v');
      expect(topics()).toEqual(['/snapshot/prepare', '/snapshot/commit', '/snapshot/remove']);
      expect(stores.published[1]?.value).toEqual({ key: 'a', name: 'base', snapshotter: name });
    });

    it.skipIf(!isRoot)('shows in each layer what those below hold, with what the layer changes', async () => {
      whileMounted(dir, await snapshotter.prepare('n', 'one', ''), (path) => {
        writeFileSync(join(path, 'kept'), 'one');
        writeFileSync(join(path, 'changed'), 'one');
        writeFileSync(join(path, 'removed'), 'one');
      });
      await snapshotter.commit('n', 'base', 'one');
      whileMounted(dir, await snapshotter.prepare('n', 'two', 'base'), (path) => {
        writeFileSync(join(path, 'changed'), 'two');
        rmSync(join(path, 'removed'));
        mkdirSync(join(path, 'new'));
      });
      await snapshotter.commit('n', 'top', 'two');
      whileMounted(dir, await snapshotter.view('n', 'v', 'top'), (path) => {
        expect(readdirSync(path).sort()).toEqual(['changed', 'kept', 'new']);
        expect(readFileSync(join(path, 'changed'), 'utf8')).toBe('two');
        expect(() => writeFileSync(join(path, 'x'), '')).toThrow(/EROFS/);
      });
      whileMounted(dir, await snapshotter.view('n', 'w', 'base'), (path) => {
        expect(readdirSync(path).sort()).toEqual(['changed', 'kept', 'removed']);
        expect(readFileSync(join(path, 'changed'), 'utf8')).toBe('one');
      });
    });

    it.skipIf(!isRoot)('keeps owner, mode and names of the root directory from layer to layer', async () => {
      whileMounted(dir, await snapshotter.prepare('n', 'a', ''), (path) => {
        expect(statSync(path).mode & 0o7777).toBe(0o755);
        chmodSync(path, 0o1750);
      });
      await snapshotter.commit('n', 'base', 'a');
      whileMounted(dir, await snapshotter.prepare('n', 'b', 'base'), (path) => {
        expect(statSync(path).mode & 0o7777).toBe(0o1750);
      });
      expect(statSync(below('2')).mode & 0o777).toBe(0o700);
    });

    it('refuses a taken key or name, a missing parent and one that is not committed', async () => {
      await layers('base');
      await snapshotter.prepare('n', 'a', 'base');
      await refused(snapshotter.prepare('n', 'a', ''), 'already_exists');
      await refused(snapshotter.view('n', 'base', ''), 'already_exists');
      await refused(snapshotter.prepare('n', 'b', 'nowhere'), 'not_found');
      await refused(snapshotter.prepare('other', 'b', 'base'), 'not_found');
      await refused(snapshotter.prepare('n', 'b', 'a'), 'invalid_argument');
      await refused(snapshotter.prepare('n', '', ''), 'invalid_argument');
      await refused(snapshotter.commit('n', 'base', 'a'), 'already_exists');
      await refused(snapshotter.commit('n', 'x', 'nowhere'), 'not_found');
      await refused(snapshotter.commit('n', 'x', 'base'), 'failed_precondition');
      await refused(snapshotter.commit('n', 'x', 'a', { parent: 'other' }), 'invalid_argument');
      await refused(snapshotter.mounts('n', 'base'), 'failed_precondition');
      await refused(snapshotter.mounts('n', 'nowhere'), 'not_found');
      await refused(snapshotter.prepare('n', 'b', 'base', { lease: 'none' }), 'not_found');
      await refused(snapshotter.usage('n', 'nowhere'), 'not_found');
      await snapshotter.cleanup();
      expect(readdirSync(below())).toEqual(['1', '2']);
    });

    it('makes one snapshot of a key, however many ask for it at once', async () => {
      await layers('base');
      const attempts = Array.from({ length: 5 }, () => snapshotter.prepare('n', 'a', 'base'));
      const outcomes = await Promise.allSettled(attempts);
      const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(failures).toHaveLength(4);
      for (const { reason } of failures) expect(reason).toMatchObject({ code: 'already_exists' });
      await snapshotter.cleanup();
      expect(readdirSync(below())).toHaveLength(2);
    });

    it('has no place for a parent that goes away while its child is made', async () => {
      await layers('base');
      const child = snapshotter.prepare('n', 'a', 'base');
      const removed = snapshotter.remove('n', 'base');
      const [outcome] = await Promise.allSettled([child, removed]);
      if (outcome.status === 'rejected') {
        expect(outcome.reason).toMatchObject({ code: 'not_found' });
        expect(names()).toEqual([]);
      } else expect(names()).toEqual(['a', 'base']);
      await snapshotter.cleanup();
      expect(readdirSync(below())).toHaveLength(names().length);
    });

    it('leaves alone what is being made when it cleans up', async () => {
      await layers('base');
      const child = snapshotter.prepare('n', 'a', 'base');
      await snapshotter.cleanup();
      await child;
      expect(names()).toEqual(['a', 'base']);
      expect(existsSync(below('2/fs'))).toBe(true);
    });

    it('tells an unpacker that the layer is there, and leases it', async () => {
      await layers('sha256:chain');
      stores.leases.create('n', 'l');
      const labels = { [snapshotRef]: 'sha256:chain' };
      await expect(snapshotter.prepare('n', 'extract-x', '', { labels, lease: 'l' })).rejects.toMatchObject({
        code: 'already_exists',
        message: 'target snapshot "sha256:chain": already exists',
      });
      expect(leased()).toEqual([`snapshots/${name} sha256:chain`]);
      expect(names()).toEqual(['sha256:chain']);
    });

    it('moves the lease from the key to the name, in the own lease only', async () => {
      for (const id of ['l', 'other']) stores.leases.create('n', id);
      const labels = { [snapshotRef]: 'sha256:new' };
      await snapshotter.prepare('n', 'extract-y', '', { labels, lease: 'l' });
      expect(leased()).toEqual([`snapshots/${name} extract-y`]);
      await snapshotter.commit('n', 'sha256:new', 'extract-y', { lease: 'l' });
      expect(leased()).toEqual([`snapshots/${name} sha256:new`]);
      await snapshotter.remove('n', 'sha256:new', 'other');
      expect(leased()).toEqual([`snapshots/${name} sha256:new`]);
    });

    it('removes from the top down, rows at once and files soon', async () => {
      await layers('base');
      await snapshotter.prepare('n', 'a', 'base');
      await refused(snapshotter.remove('n', 'base'), 'failed_precondition');
      await snapshotter.remove('n', 'a');
      expect(() => snapshotter.stat('n', 'a')).toThrow(expect.objectContaining({ code: 'not_found' }));
      await snapshotter.remove('n', 'base');
      await snapshotter.cleanup();
      expect(readdirSync(below())).toEqual([]);
      await refused(snapshotter.remove('n', 'a'), 'not_found');
    });

    it('removes the files of a snapshot though its record is being written', async () => {
      for (let round = 0; round < 200; round++) {
        await snapshotter.prepare('n', 'a', '');
        const written = stores.recordWriter.drain();
        await snapshotter.remove('n', 'a');
        await snapshotter.cleanup();
        await written;
        expect(readdirSync(below())).toEqual([]);
      }
    });

    it('clears away what an earlier daemon left unfinished, and gives its ids to nobody', async () => {
      await layers('base');
      await stores.close();
      for (const stale of ['2', '77', 'new-0123']) mkdirSync(below(`${stale}/fs/stale`), { recursive: true });
      open();
      const made = snapshotter.prepare('n', 'a', 'base');
      await snapshotter.cleanup();
      await made;
      expect(readdirSync(below()).sort()).toEqual(['1', '78']);
      expect(readdirSync(below('78/fs'))).toEqual([]);
    });

    it('describes snapshots, lists them by filter and changes their labels', async () => {
      await layers('base');
      await snapshotter.prepare('n', 'a', 'base', { labels: { k: 'v', 'a.b/c': 'd', empty: '' } });
      await snapshotter.view('n', 'v', 'base');
      expect(snapshotter.stat('n', 'a')).toMatchObject({ kind: 'active', name: 'a', parent: 'base' });
      expect(snapshotter.stat('n', 'base')).toMatchObject({ kind: 'committed', parent: undefined, labels: {} });
      expect(names()).toEqual(['a', 'base', 'v']);
      expect(names('kind==view')).toEqual(['v']);
      expect(names('kind!=view')).toEqual(['a', 'base']);
      expect(names('name~=^[ab]')).toEqual(['a', 'base']);
      expect(names('parent==base,labels.k==v')).toEqual(['a']);
      expect(names('labels."a.b/c"')).toEqual(['a']);
      expect(names('parent==""')).toEqual(['base']);
      expect(names('kind==view', 'name==base')).toEqual(['base', 'v']);
      expect(() => names('kind==')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
      const before = snapshotter.stat('n', 'a');
      const updated = snapshotter.update('n', 'a', { k: '', new: '1' }, ['labels.new', 'labels.k']);
      expect(updated.labels).toEqual({ 'a.b/c': 'd', new: '1' });
      expect(updated.createdAt).toEqual(before.createdAt);
      expect(snapshotter.update('n', 'a', { only: 'x' }).labels).toEqual({ only: 'x' });
      for (const [key, paths] of [
        ['a', ['parent']],
        ['', []],
      ] as const) {
        expect(() => snapshotter.update('n', key, {}, paths)).toThrow(
          expect.objectContaining({ code: 'invalid_argument' }),
        );
      }
    });

    it('replaces the labels of the key by those of the commit', async () => {
      await snapshotter.prepare('n', 'a', '', { labels: { of: 'key', 'containerd.io/snapshot/x': '1' } });
      await snapshotter.commit('n', 'base', 'a', { labels: { of: 'name' } });
      expect(snapshotter.stat('n', 'base').labels).toEqual({ of: 'name' });
    });

    it('lists more snapshots than a page holds, each once, also while some go', async () => {
      const all = Array.from({ length: 250 }, (_, i) => `s${String(i).padStart(3, '0')}`);
      for (const key of all) await snapshotter.view('n', key, '');
      expect(names()).toEqual(all);
      const seen: string[] = [];
      for (const info of snapshotter.list('n')) {
        seen.push(info.name);
        if (info.name === 's050') await Promise.all(all.slice(200).map((key) => snapshotter.remove('n', key)));
      }
      expect(seen).toEqual(all.slice(0, 200));
    });

    it('counts what a snapshot holds, hard links once, and remembers it once committed', async () => {
      await snapshotter.prepare('n', 'a', '');
      mkdirSync(below('1/fs/dir'));
      writeFileSync(below('1/fs/dir/file'), Buffer.alloc(100_000, 1), { flush: true });
      const before = await snapshotter.usage('n', 'a');
      linkSync(below('1/fs/dir/file'), below('1/fs/link'));
      expect(await snapshotter.usage('n', 'a')).toEqual(before);
      expect(before.inodes).toBe(3);
      expect(before.size).toBeGreaterThanOrEqual(100_000);
      await snapshotter.commit('n', 'base', 'a');
      expect(await snapshotter.usage('n', 'base')).toEqual(before);
      writeFileSync(below('1/fs/more'), 'x');
      expect(await snapshotter.usage('n', 'base')).toEqual(before);
      await snapshotter.view('n', 'v', 'base');
      expect(await snapshotter.usage('n', 'v')).toEqual({ size: 0, inodes: 0 });
    });
  });
}

describe('the snapshotters of a daemon', () => {
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

  it('are found by name, and told when there is none', () => {
    expect(stores.snapshotters.all.map(({ name }) => name)).toEqual(['overlayfs', 'native']);
    const invalid = expect.objectContaining({ code: 'invalid_argument' });
    expect(() => stores.snapshotters.named('zfs')).toThrow(invalid);
    expect(() => stores.snapshotters.named('')).toThrow(invalid);
  });

  it('keep their keys apart', async () => {
    const [overlay, native] = stores.snapshotters.all;
    await overlay?.prepare('n', 'a', '');
    await overlay?.commit('n', 'base', 'a');
    await native?.prepare('n', 'a', '');
    await expect(native?.prepare('n', 'b', 'base')).rejects.toMatchObject({ code: 'not_found' });
    expect(native?.stat('n', 'a').kind).toBe('active');
  });
});
