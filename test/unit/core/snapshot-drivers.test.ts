import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import * as linux from '#common/native/index.ts';
import { OverlayDriver } from '../../../apps/core/snapshots/overlay-driver.ts';
import type { Mount, Snapshotter } from '../../../apps/core/snapshots/snapshotter.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { whileMounted } from '../../support/mounted.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const isRoot = process.getuid?.() === 0;

let dir: string;
let stores: TestStores;
let overlay: Snapshotter;
let native: Snapshotter;
beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
  overlay = stores.snapshotters.named('overlayfs');
  native = stores.snapshotters.named('native');
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

const below = (path: string): string => join(dir, 'snapshots', path);
const option = (mount: Mount | undefined, name: string): string | undefined =>
  mount?.options.find((text) => text.startsWith(`${name}=`))?.slice(name.length + 1);

async function layers(snapshotter: Snapshotter, ...names: string[]): Promise<void> {
  let parent = '';
  for (const name of names) {
    await snapshotter.prepare('n', `extract-${name}`, parent);
    await snapshotter.commit('n', name, `extract-${name}`);
    parent = name;
  }
}

describe('overlay snapshots', () => {
  it('without a parent are bind mounts, writable or read-only', async () => {
    expect(await overlay.prepare('n', 'a', '')).toEqual([
      { type: 'bind', source: below('overlayfs/1/fs'), options: ['rw', 'rbind'] },
    ]);
    expect(await overlay.view('n', 'v', '')).toEqual([
      { type: 'bind', source: below('overlayfs/2/fs'), options: ['ro', 'rbind'] },
    ]);
  });

  it('stack a writable one on its parents, nearest first', async () => {
    await layers(overlay, 'one', 'two', 'three');
    const [mount, ...others] = await overlay.prepare('n', 'top', 'three');
    expect(others).toEqual([]);
    expect(mount).toMatchObject({ type: 'overlay', source: 'overlay' });
    expect(option(mount, 'upperdir')).toBe(below('overlayfs/4/fs'));
    expect(option(mount, 'workdir')).toBe(below('overlayfs/4/work'));
    expect(option(mount, 'lowerdir')).toBe([3, 2, 1].map((id) => below(`overlayfs/${id}/fs`)).join(':'));
    expect(readdirSync(below('overlayfs/4')).sort()).toEqual(['fs', 'work']);
  });

  it('made without a parent get one when they are committed, and their root its owner and mode', async () => {
    await overlay.prepare('n', 'a', '');
    chmodSync(below('overlayfs/1/fs'), 0o2750);
    await overlay.commit('n', 'base', 'a');
    await overlay.prepare('n', 'b', '');
    await overlay.commit('n', 'top', 'b', { parent: 'base' });
    expect(overlay.stat('n', 'top').parent).toBe('base');
    expect(statSync(below('overlayfs/2/fs')).mode & 0o7777).toBe(0o2750);
    expect(overlay.layers('n', 'top')).toEqual([2, 1].map((id) => below(`overlayfs/${id}/fs`)));
    await expect(overlay.remove('n', 'base')).rejects.toThrow('cannot remove snapshot with child');
    await overlay.prepare('n', 'c', 'base');
    await expect(overlay.commit('n', 'x', 'c', { parent: 'top' })).rejects.toThrow('cannot change parent');
    await overlay.prepare('n', 'd', '');
    await expect(overlay.commit('n', 'x', 'd', { parent: 'c' })).rejects.toThrow('not committed');
  });

  it('view one layer by a bind mount, several by an overlay without an upper directory', async () => {
    await layers(overlay, 'one', 'two');
    expect(await overlay.view('n', 'v1', 'one')).toEqual([
      { type: 'bind', source: below('overlayfs/1/fs'), options: ['ro', 'rbind'] },
    ]);
    const [mount] = await overlay.view('n', 'v2', 'two');
    expect(option(mount, 'lowerdir')).toBe(`${below('overlayfs/2/fs')}:${below('overlayfs/1/fs')}`);
    expect(option(mount, 'upperdir')).toBeUndefined();
  });

  it.skipIf(!isRoot)('show layers with the owners that a mapping asks for, where the kernel can', async () => {
    await overlay.prepare('n', 'a', '');
    writeFileSync(below('overlayfs/1/fs/file'), 'x');
    await overlay.commit('n', 'base', 'a');
    const labels = {
      'containerd.io/snapshot/uidmapping': '0:100000:65536',
      'containerd.io/snapshot/gidmapping': '0:200000:65536',
    };
    const mounts = await overlay.prepare('n', 'mapped', 'base', { labels });
    const maps = ['uidmap=0:100000:65536', 'gidmap=0:200000:65536'];
    const { capabilities } = stores.snapshotters.named('overlayfs');
    expect(mounts[0]?.options.slice(0, 2)).toEqual(capabilities.includes('remap-ids') ? maps : expect.any(Array));
    whileMounted(dir, mounts, (path) => {
      const mapped = capabilities.includes('remap-ids') ? { uid: 100_000, gid: 200_000 } : { uid: 0, gid: 0 };
      expect(statSync(join(path, 'file'))).toMatchObject(mapped);
      expect(statSync(path)).toMatchObject({ uid: 100_000, gid: 200_000 });
    });
    expect(await overlay.view('n', 'v', 'base', { labels })).toMatchObject([
      { type: 'bind', options: [...(capabilities.includes('remap-ids') ? maps : []), 'ro', 'rbind'] },
    ]);
  });

  it('map no layers where the kernel can not', () => {
    const files = { directory: '/s/2', kind: 'active', parents: ['/s/1'] } as const;
    const labels = { 'containerd.io/snapshot/uidmapping': '0:1:1', 'containerd.io/snapshot/gidmapping': '0:1:1' };
    const options = (maps: boolean) => new OverlayDriver(() => maps).mounts({ ...files, labels })[0]?.options ?? [];
    expect(options(true)).toEqual(['uidmap=0:1:1', 'gidmap=0:1:1', ...options(false)]);
    expect(new OverlayDriver(() => false).capabilities).toEqual([]);
  });

  it.skipIf(!isRoot)("belong to the ids that a container's root is mapped to", async () => {
    await layers(overlay, 'base');
    const labels = {
      'containerd.io/snapshot/uidmapping': '0:100000:65536',
      'containerd.io/snapshot/gidmapping': '5:1:1,0:200000:65536',
    };
    await overlay.prepare('n', 'mapped', 'base', { labels });
    expect(statSync(below('overlayfs/2/fs'))).toMatchObject({ uid: 100_000, gid: 200_000 });
    for (const bad of ['0:1', 'x', '0:-1:5', '1:100:5', '0:0:4294967295']) {
      const wrong = overlay.prepare('n', 'bad', 'base', { labels: { 'containerd.io/snapshot/uidmapping': bad } });
      await expect(wrong).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    await overlay.cleanup();
    expect(readdirSync(below('overlayfs')).sort()).toEqual(['1', '2']);
  });
});

describe('native snapshots', () => {
  it('are bind mounts of whole trees, a view of another one has none of its own', async () => {
    await layers(native, 'base');
    writeFileSync(below('native/1/fs/file'), 'x');
    expect(await native.prepare('n', 'a', 'base')).toEqual([
      { type: 'bind', source: below('native/2/fs'), options: ['rw', 'rbind'] },
    ]);
    expect(readFileSync(below('native/2/fs/file'), 'utf8')).toBe('x');
    expect(await native.view('n', 'v', 'base')).toEqual([
      { type: 'bind', source: below('native/1/fs'), options: ['ro', 'rbind'] },
    ]);
    expect(readdirSync(below('native/3'))).toEqual([]);
  });

  it('get no other parent than they were copied from', async () => {
    await layers(native, 'one');
    await native.prepare('n', 'a', '');
    await expect(native.commit('n', 'two', 'a', { parent: 'one' })).rejects.toThrow('cannot change parent');
  });

  it('tell why a tree could not be copied, and leave nothing', async () => {
    await layers(native, 'base');
    linux.native.mkdir(below('native/1/elsewhere'), 0o755);
    execFileSync('rm', ['-r', below('native/1/fs')]);
    await expect(native.prepare('n', 'a', 'base')).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/native\/1\/fs.*No such file or directory/),
    });
    await native.cleanup();
    expect(readdirSync(below('native'))).toEqual(['1']);
  });

  it.skipIf(!isRoot)('copy every kind of file with all that belongs to it', async () => {
    await native.prepare('n', 'a', '');
    const from = below('native/1/fs');
    writeFileSync(join(from, 'plain'), 'plain');
    writeFileSync(join(from, 'setuid'), 'x');
    chownSync(join(from, 'setuid'), 7, 8);
    chmodSync(join(from, 'setuid'), 0o6751);
    writeFileSync(join(from, '-n "ew\nline'), '');
    writeFileSync(Buffer.concat([Buffer.from(`${from}/`), Buffer.from([0xff, 0xfe])]), 'not utf-8');
    linkSync(join(from, 'plain'), join(from, 'linked'));
    symlinkSync('../nowhere', join(from, 'symlink'));
    linux.lsetxattr(join(from, 'plain'), 'user.note', Buffer.from('kept'), 0);
    linux.lsetxattr(join(from, 'plain'), 'trusted.note', Buffer.from([0, 1]), 0);
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    linux.lsetxattr(join(from, 'setuid'), 'security.capability', capability, 0);
    linux.mknod(join(from, 'null'), linux.S.IFCHR | 0o640, 1, 3);
    linux.mkfifo(join(from, 'fifo'), 0o600);
    mkdirSync(join(from, 'dir/sub'), { recursive: true });
    chmodSync(join(from, 'dir/sub'), 0o1777);
    const sparse = openSync(join(from, 'sparse'), 'w');
    ftruncateSync(sparse, 64 << 20);
    writeSync(sparse, 'end', 50 << 20);
    closeSync(sparse);
    for (const path of ['plain', 'symlink', 'dir/sub', 'dir', '']) {
      linux.lutimens(join(from, path), 1_000_000_000, 123_456_789, 1_111_111_111, 987_654_321);
    }
    await native.commit('n', 'base', 'a');
    await native.prepare('n', 'b', 'base');

    const to = below('native/2/fs');
    const look = (root: string, path: string) => {
      const { mode, uid, gid, size, nlink, rdev, mtimeNs } = lstatSync(join(root, path), { bigint: true });
      const file = join(root, path);
      const xattrs = linux.llistxattr(file).map((xattr) => [xattr, linux.lgetxattr(file, xattr)?.toString('hex')]);
      return { path, mode, uid, gid, size, nlink, rdev, mtimeNs, xattrs: xattrs.sort() };
    };
    const entries = readdirSync(from, { encoding: 'buffer' }).map((entry) => entry.toString('hex'));
    expect(readdirSync(to, { encoding: 'buffer' }).map((entry) => entry.toString('hex'))).toEqual(entries);
    const paths = [
      '',
      'plain',
      'setuid',
      '-n "ew\nline',
      'linked',
      'symlink',
      'null',
      'fifo',
      'dir',
      'dir/sub',
      'sparse',
    ];
    for (const path of paths) expect(look(to, path)).toEqual(look(from, path));
    expect(statSync(join(to, 'plain')).ino).toBe(statSync(join(to, 'linked')).ino);
    expect(readlinkSync(join(to, 'symlink'))).toBe('../nowhere');
    expect(statSync(join(to, 'sparse')).blocks).toBeLessThan(2048);
  });
});
