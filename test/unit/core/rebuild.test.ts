import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '#common/log.ts';
import { typeUrls } from '#common/typeurl.ts';
import { writeContainerFile } from '../../../apps/core/containers/container-file.ts';
import type { Container } from '../../../apps/core/containers/store.ts';
import { openMetadata } from '../../../apps/core/metadata/open-metadata.ts';
import { rebuildRecords } from '../../../apps/core/rebuild/rebuild.ts';
import { digestOf } from '../../support/busybox-image.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let stores: TestStores;
let tasksDir: string;

beforeEach(() => {
  dir = scratchDir();
  tasksDir = join(dir, 'tasks');
  stores = testStores(dir);
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

async function blob(ns: string, text: string, labels: Record<string, string> = {}): Promise<string> {
  await using writer = await stores.content.writer(ns, { ref: text });
  await writer.write(Buffer.from(text));
  return await writer.commit({ labels });
}

/** Layers as they are when the upper one was begun first: 2 is the parent of 1. */
async function upperBeforeLower(): Promise<void> {
  const { snapshotter } = stores;
  await snapshotter.prepare('n', 'upper', '');
  await snapshotter.prepare('n', 'lower', '');
  await snapshotter.commit('n', 'base', 'lower');
  await snapshotter.commit('n', 'top', 'upper', { parent: 'base' });
}

/** Loses the database, or all but a backup, and starts anew as the daemon does. */
async function lose(keepMs = 60_000): Promise<void> {
  await stores.close();
  for (const suffix of ['', '-wal', '-shm']) rmSync(join(dir, `meta.db${suffix}`), { force: true });
  await rebuild(keepMs);
}

async function rebuild(keepMs = 60_000): Promise<void> {
  const { db, origin, recovered } = openMetadata(dir, 'quick', silentLogger());
  expect(origin).not.toBe('kept');
  rebuildRecords({ db, root: dir, tasksDir, defaultRuntime: 'io.containerd.runc.v2', keepMs, log: silentLogger() });
  recovered();
  db.close();
  stores = testStores(dir);
}

const container: Container = {
  id: 'c',
  labels: { a: 'b' },
  image: 'i',
  runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'o', value: Buffer.from([1, 2]) } },
  spec: { typeUrl: typeUrls.spec, value: Buffer.from('{"ociVersion":"1.0.2"}') },
  snapshotter: 'overlayfs',
  snapshotKey: 'k',
  sandbox: 's',
  extensions: { e: { typeUrl: 't', value: Buffer.from([3]) } },
  createdAt: Temporal.Instant.from('2026-01-01T00:00:00Z'),
  updatedAt: Temporal.Instant.from('2026-01-02T00:00:00Z'),
};

function bundle(ns: string, id: string): string {
  const path = join(tasksDir, ns, id);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), '{"ociVersion":"1.0.2"}');
  return path;
}

describe('records made anew without the database', () => {
  it('are those of blobs, in every namespace that had them, with their labels', async () => {
    const digest = await blob('one', 'x', { l: '1' });
    await blob('two', 'x', { l: '2' });
    stores.content.update('two', digest, { l: '3' });
    await lose();
    expect(stores.content.info('one', digest).labels).toEqual({ l: '1' });
    expect(stores.content.info('two', digest)).toMatchObject({ labels: { l: '3' }, size: 1 });
    expect(stores.namespaces.list().map(({ name }) => name)).toEqual(['one', 'two']);
  });

  it('are those of images with a target', async () => {
    const digest = await blob('n', 'manifest');
    const target = { digest, size: 8, mediaType: 'm', annotations: { x: 'y' } };
    stores.images.create('n', { name: 'kept', target, labels: { l: '1' } });
    stores.images.create('n', { name: 'deleted', target, labels: {} });
    stores.images.delete('n', 'deleted');
    stores.images.create('n', {
      name: 'hollow',
      target: { ...target, digest: digestOf(Buffer.from('?')) },
      labels: {},
    });
    const before = stores.images.get('n', 'kept');
    await lose();
    expect(stores.images.list('n')).toEqual([{ ...before, updatedAt: before.createdAt }]);
  });

  it('are those of snapshots with parents, names, kinds and labels, and new ones get other ids', async () => {
    const { snapshotter } = stores;
    await snapshotter.prepare('n', 'key', '');
    await snapshotter.commit('n', 'base', 'key', { labels: { l: '1' } });
    await snapshotter.prepare('n', 'active', 'base');
    await snapshotter.view('n', 'view', 'base');
    snapshotter.update('n', 'active', { l: '2' });
    const before = [...snapshotter.list('n')];
    const mounts = await snapshotter.mounts('n', 'active');
    await lose();
    const without = (all: Iterable<object>) =>
      [...all].map((info) => ({ ...info, updatedAt: undefined, createdAt: undefined }));
    expect(without(stores.snapshotter.list('n'))).toEqual(without(before));
    expect(await stores.snapshotter.mounts('n', 'active')).toEqual(mounts);
    await stores.snapshotter.prepare('n', 'new', 'base');
    expect(await stores.snapshotter.mounts('n', 'active')).toEqual(mounts);
  });

  it('are those of layers whose parents have higher ids', async () => {
    await upperBeforeLower();
    const mounts = await stores.snapshotter.prepare('n', 'active', 'top');
    await lose();
    expect([...stores.snapshotter.list('n')].map(({ name, parent }) => [name, parent])).toEqual([
      ['active', 'top'],
      ['base', undefined],
      ['top', 'base'],
    ]);
    expect(await stores.snapshotter.mounts('n', 'active')).toEqual(mounts);
  });

  it('are those of containers with a task, whole where the bundle says all', async () => {
    writeContainerFile(bundle('n', 'c'), container);
    await stores.snapshotter.prepare('n', 'old', '');
    bundle('n', 'old');
    await lose();
    const { spec, ...rest } = stores.containers.get('n', 'c');
    expect(rest).toEqual({ ...container, spec: undefined, ...rest, labels: { a: 'b' } });
    expect(Buffer.from(spec?.value ?? []).toString()).toBe('{"ociVersion":"1.0.2"}');
    expect(rest.extensions.e?.value).toEqual(new Uint8Array([3]));
    expect(rest.runtime.options?.value).toEqual(new Uint8Array([1, 2]));
    expect(stores.containers.get('n', 'old')).toMatchObject({ snapshotter: 'overlayfs', snapshotKey: 'old' });
  });

  it('are those of sandboxes, as they were last', async () => {
    const { snapshotter, snapshotKey, image, ...rest } = container;
    const sandbox = { ...rest, id: 's.tmp', sandboxer: 'shim' };
    stores.sandboxes.create('n', sandbox);
    stores.sandboxes.create('n', { ...sandbox, id: 's', spec: undefined });
    stores.sandboxes.create('n', { ...sandbox, id: 'deleted' });
    stores.sandboxes.update('n', { ...sandbox, labels: { a: 'c' } }, ['labels']);
    stores.sandboxes.delete('n', 'deleted');
    const before = stores.sandboxes.list('n');
    await lose();
    expect(stores.sandboxes.list('n')).toEqual(before);
    expect(stores.namespaces.list().map(({ name }) => name)).toEqual(['n']);
  });

  it('stay until their time is up, whatever refers to them', async () => {
    await blob('n', 'x');
    await stores.snapshotter.prepare('n', 'k', '');
    await lose();
    expect(await stores.collector.collect()).toMatchObject({ blobs: 0, snapshots: 0 });
    const [lease] = stores.leases.list('n');
    expect(lease?.id).toMatch(/^recovered-/);
    stores.leases.delete('n', lease?.id ?? '');
    expect(await stores.collector.collect()).toMatchObject({ blobs: 1, snapshots: 1 });
    await lose(0);
    expect(stores.leases.list('n')).toEqual([]);
  });

  it('put what nobody owns where an operator finds it', async () => {
    await blob('n', 'x');
    await stores.snapshotter.prepare('n', 'k', '');
    await stores.recordWriter.drain();
    rmSync(join(dir, 'content/owners'), { recursive: true });
    rmSync(join(dir, 'snapshots/overlayfs/1/snapshot.json'));
    await lose();
    await stores.collector.collect();
    expect(stores.content.list('berth-recovered')).toHaveLength(1);
    expect([...stores.snapshotter.list('berth-recovered')]).toMatchObject([{ name: '1', kind: 'active' }]);
  });

  it('pass over what makes no sense', async () => {
    const digest = await blob('n', 'x');
    await blob('n', 'y');
    await stores.snapshotter.prepare('n', 'k', '');
    await stores.recordWriter.drain();
    writeFileSync(join(dir, 'content/owners/n', digest.slice(7)), '{"id":1}');
    writeFileSync(join(dir, 'snapshots/overlayfs/1/snapshot.json'), '{"ns":"n","name":"k","kind":"odd"}');
    mkdirSync(join(dir, 'images/n'), { recursive: true });
    writeFileSync(join(dir, 'images/n/x'), '{"id":"i"}');
    writeFileSync(join(bundle('n', 'c'), 'container.json'), '{}');
    mkdirSync(join(dir, 'sandboxes/n'), { recursive: true });
    writeFileSync(join(dir, 'sandboxes/n/s.json'), '{"id":"s","extensions":{}}');
    await lose();
    expect(stores.content.list('n')).toHaveLength(1);
    expect(stores.content.list('berth-recovered')).toHaveLength(1);
    expect(stores.containers.list('n')).toEqual([]);
    expect(stores.sandboxes.list('n')).toEqual([]);
  });

  it('are made again when the daemon is killed before it is done', async () => {
    const digest = await blob('n', 'x');
    await stores.close();
    rmSync(join(dir, 'meta.db'));
    openMetadata(dir, 'quick', silentLogger()).db.close();
    await rebuild();
    expect(stores.content.info('n', digest).size).toBe(1);
  });
});

describe('a backup that is older than what is on disk', () => {
  it('is brought up to date: new things are known, deleted ones forgotten, leases kept', async () => {
    const kept = await blob('n', 'kept');
    const deleted = await blob('n', 'deleted');
    stores.leases.create('n', 'lease');
    await stores.snapshotter.prepare('n', 'extract', '');
    await stores.snapshotter.prepare('n', 'removed', '');
    stores.containers.create('n', { ...container, id: 'gone', snapshotKey: 'removed' });
    await stores.db.durable();
    mkdirSync(join(dir, 'backups'));
    stores.db.run('VACUUM INTO ?', join(dir, 'backups/00000001.db'));

    const made = await blob('n', 'new');
    stores.content.delete('n', deleted);
    await stores.snapshotter.commit('n', 'layer', 'extract');
    stores.containers.delete('n', 'gone');
    await stores.snapshotter.remove('n', 'removed');
    stores.leases.create('n', 'keep');
    for (const id of [kept, made]) stores.leases.addResource('n', 'keep', { type: 'content', id });
    stores.leases.addResource('n', 'keep', { type: 'snapshots/overlayfs', id: 'layer' });
    await stores.collector.collect();
    expect(readdirSync(join(dir, 'content/blobs/sha256'))).toHaveLength(2);
    await lose();

    expect(
      stores.content
        .list('n')
        .map(({ digest }) => digest)
        .sort(),
    ).toEqual([kept, made].sort());
    expect([...stores.snapshotter.list('n')]).toMatchObject([{ name: 'layer', kind: 'committed' }]);
    expect(stores.containers.list('n')).toEqual([]);
    expect(stores.leases.list('n').map(({ id }) => id)).toContain('lease');
    expect(existsSync(join(dir, 'rebuild'))).toBe(false);
  });

  it('forgets deleted layers whose parents have higher ids', async () => {
    await upperBeforeLower();
    await stores.db.durable();
    mkdirSync(join(dir, 'backups'));
    stores.db.run('VACUUM INTO ?', join(dir, 'backups/00000001.db'));
    for (const name of ['top', 'base']) await stores.snapshotter.remove('n', name);
    await stores.collector.collect();
    await lose();
    expect([...stores.snapshotter.list('n')]).toEqual([]);
  });
});
