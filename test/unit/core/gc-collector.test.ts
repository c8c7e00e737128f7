import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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

const past = '2001-01-01T00:00:00Z';
const future = '2901-01-01T00:00:00Z';
const snapshotter = 'overlayfs';

async function blob(ns = 'n', labels: Record<string, string> = {}): Promise<string> {
  await using writer = await stores.content.writer(ns, { ref: randomBytes(8).toString('hex') });
  await writer.write(randomBytes(64));
  return await writer.commit({ labels });
}

async function layer(name: string, parent = '', labels: Record<string, string> = {}): Promise<void> {
  await stores.snapshotter.prepare('n', `key-${name}`, parent);
  await stores.snapshotter.commit('n', name, `key-${name}`, { labels });
}

function image(name: string, digest: string, labels: Record<string, string> = {}): void {
  stores.images.create('n', { name, target: { mediaType: 'application/x', digest, size: 64 }, labels });
}

const blobs = (ns = 'n'): string[] => stores.content.list(ns).map(({ digest }) => digest);
const files = (): number => readdirSync(join(dir, 'content/blobs/sha256')).length;
const snapshots = (): string[] => [...stores.snapshotter.list('n')].map(({ name }) => name);
const snapshotDirectories = (): number => readdirSync(join(dir, 'snapshots/overlayfs')).length;

describe('a collection', () => {
  it('takes what nothing needs, files and rows, and says so', async () => {
    await blob();
    await layer('base');
    expect(await stores.collector.collect()).toMatchObject({ blobs: 1, snapshots: 1, bytes: 64 });
    expect([blobs(), files(), snapshots(), snapshotDirectories()]).toEqual([[], 0, [], 0]);
    const gone = { key: 'base', snapshotter };
    expect(stores.published).toContainEqual({ ns: 'n', topic: '/snapshot/remove', value: gone });
  });

  it('follows an image to its manifest, config, layers and snapshots, and their parents', async () => {
    const layers = [await blob(), await blob()];
    await layer('bottom');
    await layer('chain', 'bottom');
    await layer('unrelated');
    const config = await blob('n', { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: 'chain' });
    const manifest = await blob('n', {
      'containerd.io/gc.ref.content.config': config,
      'containerd.io/gc.ref.content.l.0': layers[0] ?? '',
      'containerd.io/gc.ref.content/l.1': layers[1] ?? '',
    });
    const index = await blob('n', { 'containerd.io/gc.ref.content': manifest });
    await blob();
    image('i', index);
    await stores.collector.collect();
    expect(new Set(blobs())).toEqual(new Set([...layers, config, manifest, index]));
    expect(snapshots()).toEqual(['bottom', 'chain']);
    stores.images.delete('n', 'i');
    await stores.collector.collect();
    expect([blobs(), files(), snapshots(), snapshotDirectories()]).toEqual([[], 0, [], 0]);
  });

  it('takes layers whose parents have higher ids', async () => {
    await stores.snapshotter.prepare('n', 'upper', '');
    await layer('base');
    await stores.snapshotter.commit('n', 'top', 'upper', { parent: 'base' });
    expect(await stores.collector.collect()).toMatchObject({ snapshots: 2 });
    expect([snapshots(), snapshotDirectories()]).toEqual([[], 0]);
  });

  it('bears circles of references', async () => {
    const one = await blob();
    const two = await blob('n', { 'containerd.io/gc.ref.content': one });
    stores.content.update('n', one, { 'containerd.io/gc.ref.content': two });
    image('i', one);
    await stores.collector.collect();
    expect(blobs()).toHaveLength(2);
    stores.images.delete('n', 'i');
    await stores.collector.collect();
    expect(blobs()).toEqual([]);
  });

  it('keeps namespaces apart, and bytes for as long as any of them has the blob', async () => {
    const digest = await blob();
    await using writer = await stores.content.writer('m', { ref: 'r', expected: digest });
    await writer.commit();
    image('i', digest);
    await stores.collector.collect();
    expect([blobs('n'), blobs('m'), files()]).toEqual([[digest], [], 1]);
  });

  it('spares the snapshot of a container with all below it, until the container is deleted', async () => {
    await layer('base');
    await stores.snapshotter.prepare('n', 'rootfs', 'base');
    stores.containers.create('n', {
      id: 'c',
      labels: {},
      image: '',
      runtime: { name: 'r', options: undefined },
      spec: { typeUrl: 't', value: new Uint8Array() },
      snapshotter,
      snapshotKey: 'rootfs',
      sandbox: '',
      extensions: {},
    });
    const attached = await blob('n', { 'containerd.io/gc.bref.container': 'c' });
    await stores.collector.collect();
    expect([snapshots(), blobs()]).toEqual([['base', 'rootfs'], [attached]]);
    stores.containers.delete('n', 'c');
    await stores.collector.collect();
    expect([snapshots(), blobs()]).toEqual([[], []]);
  });

  it('spares what is labelled a root; only images and leases have a time', async () => {
    const root = await blob('n', { 'containerd.io/gc.root': 'x' });
    await blob('n', { 'containerd.io/gc.expire': future });
    await layer('root', '', { 'containerd.io/gc.root': 'x' });
    await layer('passing');
    await stores.collector.collect();
    expect(blobs()).toEqual([root]);
    expect(snapshots()).toEqual(['root']);
  });

  it('takes an image whose time has passed, unless something refers to it', async () => {
    const digest = await blob();
    image('old', digest, { 'containerd.io/gc.expire': past });
    image('young', digest, { 'containerd.io/gc.expire': future });
    image('strange', digest, { 'containerd.io/gc.expire': 'soon' });
    image('wanted', digest, { 'containerd.io/gc.expire': past });
    stores.content.update('n', digest, { 'containerd.io/gc.ref.image.x': 'wanted' });
    expect(await stores.collector.collect()).toMatchObject({ images: 1 });
    expect(stores.images.list('n').map(({ name }) => name)).toEqual(['strange', 'wanted', 'young']);
  });

  it('spares what a lease holds and all that refers on, until the lease ends', async () => {
    const child = await blob();
    const parent = await blob('n', { 'containerd.io/gc.ref.content': child });
    await layer('base');
    await stores.snapshotter.prepare('n', 'top', 'base');
    stores.leases.create('n', 'l');
    stores.leases.addResource('n', 'l', { type: 'content', id: parent });
    stores.leases.addResource('n', 'l', { type: `snapshots/${snapshotter}`, id: 'top' });
    await stores.collector.collect();
    expect([new Set(blobs()), snapshots()]).toEqual([new Set([child, parent]), ['base', 'top']]);
    stores.leases.delete('n', 'l');
    await stores.collector.collect();
    expect([blobs(), snapshots()]).toEqual([[], []]);
  });

  it('lets a flat lease hold only what it names', async () => {
    const child = await blob();
    const parent = await blob('n', { 'containerd.io/gc.ref.content': child });
    stores.leases.create('n', 'l', { 'containerd.io/gc.flat': 'x' });
    stores.leases.addResource('n', 'l', { type: 'content', id: parent });
    await stores.collector.collect();
    expect(blobs()).toEqual([parent]);
  });

  it('lets a flat lease hold what snapshots and images are made of', async () => {
    const [attached, target] = [await blob(), await blob()];
    await layer('base');
    await stores.snapshotter.prepare('n', 'top', 'base', { labels: { 'containerd.io/gc.ref.content': attached } });
    image('old', target, { 'containerd.io/gc.expire': past, 'containerd.io/gc.ref.content': attached });
    stores.leases.create('n', 'l', { 'containerd.io/gc.flat': 'x' });
    stores.leases.addResource('n', 'l', { type: `snapshots/${snapshotter}`, id: 'top' });
    stores.leases.addResource('n', 'l', { type: 'images', id: 'old' });
    await stores.collector.collect();
    expect([blobs(), snapshots(), stores.images.list('n').length]).toEqual([[target], ['base', 'top'], 1]);
  });

  it('spares what hangs on to something that is spared, of each kind', async () => {
    const digest = await blob();
    image('i', digest);
    await layer('base', '', { 'containerd.io/gc.bref.image': 'i' });
    const other = await blob('n', { [`containerd.io/gc.bref.snapshot.${snapshotter}/x`]: 'base' });
    await layer('more', '', { 'containerd.io/gc.bref.content.y': other });
    await layer('lost', '', { 'containerd.io/gc.bref.contents': other });
    await stores.collector.collect();
    expect([new Set(blobs()), snapshots()]).toEqual([new Set([digest, other]), ['base', 'more']]);
    stores.images.delete('n', 'i');
    await stores.collector.collect();
    expect([blobs(), snapshots()]).toEqual([[], []]);
  });

  it('spares a snapshot for as long as its last use is as an image wants it', async () => {
    const condition = `containerd.io/gc.cond.snapshot.${snapshotter}`;
    image('i', await blob(), {
      [condition]: 'usedat<1h30m|recent',
      [`${condition}/x`]: 'usedat<1h,usedat>48h|ancient',
    });
    const used = (hours: number) => ({
      'containerd.io/gc.cond.value-usedat': new Date(Date.now() - hours * 3_600_000).toISOString(),
    });
    await layer('recent', '', used(1));
    await layer('ancient', '', used(72));
    await layer('unwanted', '', used(1));
    expect((await stores.collector.collect()).nextExpiry).toBeLessThanOrEqual(Date.now() + 1_800_000);
    expect(snapshots()).toEqual(['ancient', 'recent']);
    stores.snapshotter.update('n', 'recent', used(2));
    stores.snapshotter.update('n', 'ancient', used(24));
    await stores.collector.collect();
    expect(snapshots()).toEqual([]);
  });

  it('spares what a write under way expects to be there', async () => {
    const digest = await blob();
    await using writer = await stores.content.writer('m', { ref: 'r', expected: digest });
    await writer.close();
    await (await stores.content.writer('n', { ref: 'r' })).close();
    stores.db.run('UPDATE ingests SET expected = ?', digest);
    await stores.collector.collect();
    expect(blobs('n')).toEqual([digest]);
  });

  it('keeps strictly to RFC 3339 and ignores other times', async () => {
    for (const [id, expire] of Object.entries({
      year: '2001',
      space: '2001-01-01 00:00:00Z',
      local: '2001-01-01T00:00:00',
    })) {
      stores.leases.create('n', id, { 'containerd.io/gc.expire': expire });
    }
    stores.leases.create('n', 'zone', { 'containerd.io/gc.expire': '2001-01-01T00:00:00.123456789+02:00' });
    await stores.collector.collect();
    expect(stores.leases.list('n').map(({ id }) => id)).toEqual(['local', 'space', 'year']);
  });

  it('ends leases whose time has passed, with what they held', async () => {
    stores.leases.create('n', 'old', { 'containerd.io/gc.expire': past });
    stores.leases.addResource('n', 'old', { type: 'content', id: await blob() });
    expect(await stores.collector.collect()).toMatchObject({ leases: 1, blobs: 1 });
    expect(stores.leases.list('n')).toEqual([]);
  });

  it('comes by itself when a lease runs out', async () => {
    stores.scheduler.start();
    stores.leases.create('n', 'short', { 'containerd.io/gc.expire': new Date(Date.now() + 1500).toISOString() });
    stores.leases.addResource('n', 'short', { type: 'content', id: await blob() });
    await stores.scheduler.collect();
    expect(blobs()).toHaveLength(1);
    await expect.poll(() => blobs(), { timeout: 15_000 }).toEqual([]);
  });

  it('leaves writes alone that are under way or may go on', async () => {
    stores.leases.create('n', 'l');
    await using leased = await stores.content.writer('n', { ref: 'leased', lease: 'l' });
    await leased.write(Buffer.from('x'));
    await (await stores.content.writer('n', { ref: 'recent' })).close();
    stores.leases.delete('n', 'l');
    await stores.collector.collect();
    expect((await stores.content.listStatuses('n')).map(({ ref }) => ref)).toEqual(['leased', 'recent']);
    await leased.close();
    expect(await stores.collector.collect()).toMatchObject({ ingests: 1 });
    expect((await stores.content.listStatuses('n')).map(({ ref }) => ref)).toEqual(['recent']);
    expect(readdirSync(join(dir, 'content/ingest'))).toHaveLength(1);
  });

  it('keeps bytes that a writer found in another namespace, though that one forgets them', async () => {
    const digest = await blob();
    await using writer = await stores.content.writer('m', { ref: 'r', expected: digest });
    await stores.collector.collect();
    expect([blobs('n'), files()]).toEqual([[], 1]);
    await writer.commit();
    expect(await stores.content.readAll('m', digest, 64)).toHaveLength(64);
  });

  it('never takes a blob between its bytes and its record, however often it runs', async () => {
    stores.leases.create('n', 'l');
    let writing = true;
    const collecting = (async () => {
      while (writing) await stores.collector.collect();
    })();
    const digests = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        await using writer = await stores.content.writer('n', { ref: `r${i}`, lease: 'l' });
        await writer.write(randomBytes(1000));
        return await writer.commit({ lease: 'l' });
      }),
    );
    writing = false;
    await collecting;
    for (const digest of digests) expect(await stores.content.readAll('n', digest, 1000)).toHaveLength(1000);
  });

  it('follows a deletion by itself', async () => {
    image('i', await blob());
    stores.scheduler.start();
    await stores.scheduler.collect();
    expect(files()).toBe(1);
    stores.images.delete('n', 'i');
    await expect.poll(() => files(), { timeout: 15_000 }).toBe(0);
  });
});
