import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

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

const digest = `sha256:${'a'.repeat(64)}`;

describe('a lease', () => {
  it('is created once per namespace, listed by filter and deleted', () => {
    stores.leases.create('n', 'one', { kind: 'x' });
    stores.leases.create('n', 'two');
    stores.leases.create('other', 'one');
    expect(() => stores.leases.create('n', 'one')).toThrow(expect.objectContaining({ code: 'already_exists' }));
    expect(() => stores.leases.create('n', '')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(stores.leases.list('n').map(({ id }) => id)).toEqual(['one', 'two']);
    expect(stores.leases.list('n', ['labels.kind==x']).map(({ id }) => id)).toEqual(['one']);
    expect(stores.leases.list('n', ['id==two', 'id==one'])).toHaveLength(2);
    stores.leases.delete('n', 'one');
    expect(() => stores.leases.delete('n', 'one')).toThrow(expect.objectContaining({ code: 'not_found' }));
    expect(stores.leases.list('other')).toHaveLength(1);
  });

  it('holds resources of the types that containerd knows', () => {
    stores.leases.create('n', 'l');
    const resources = [
      { type: 'content', id: digest },
      { type: 'images', id: 'docker.io/library/busybox:latest' },
      { type: 'ingests', id: 'ref' },
      { type: 'snapshots/overlayfs', id: 'key' },
    ];
    for (const resource of [...resources, ...resources]) stores.leases.addResource('n', 'l', resource);
    expect(stores.leases.resources('n', 'l')).toEqual(resources);
    for (const resource of resources) stores.leases.deleteResource('n', 'l', resource);
    stores.leases.deleteResource('n', 'l', { type: 'ingests', id: 'never there' });
    stores.leases.deleteResource('n', 'l', { type: 'snapshots/', id: 'of no snapshotter' });
    expect(stores.leases.resources('n', 'l')).toEqual([]);
  });

  it.each([
    [{ type: 'content', id: 'latest' }, 'invalid_argument'],
    [{ type: 'content/x', id: digest }, 'invalid_argument'],
    [{ type: 'ingests', id: '' }, 'invalid_argument'],
    [{ type: 'snapshots', id: 'key' }, 'invalid_argument'],
    [{ type: 'snapshots/', id: 'key' }, 'invalid_argument'],
    [{ type: 'tasks', id: 'id' }, 'unimplemented'],
  ])('refuses the resource %j', (resource, code) => {
    stores.leases.create('n', 'l');
    expect(() => stores.leases.addResource('n', 'l', resource)).toThrow(expect.objectContaining({ code }));
  });

  it('must be there to hold something', () => {
    for (const resource of [
      { type: 'ingests', id: 'ref' },
      { type: 'nonsense', id: '' },
    ]) {
      expect(() => stores.leases.addResource('n', 'l', resource)).toThrow(
        expect.objectContaining({ code: 'not_found' }),
      );
    }
    expect(() => stores.leases.resources('n', 'l')).toThrow(expect.objectContaining({ code: 'not_found' }));
  });

  it('of a piece of work ends with it, also when that fails or has ended the lease itself', async () => {
    const seen = await stores.leases.withLease('n', async (lease) => {
      expect(stores.leases.list('n')[0]?.labels).toHaveProperty(['containerd.io/gc.expire']);
      return lease;
    });
    expect(seen).toMatch(/^berth-/);
    await expect(stores.leases.withLease('n', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await stores.leases.withLease('n', async (lease) => stores.leases.delete('n', lease));
    expect(stores.leases.list('n')).toEqual([]);
  });

  it('of a daemon that died lets go of what was half made, and soon of the rest; those of clients stay', async () => {
    const { leases, snapshotter, content } = stores;
    leases.create('n', 'of a client');
    await snapshotter.prepare('n', 'client', '', { lease: 'of a client' });
    void leases.withLease('n', async (lease) => {
      await snapshotter.prepare('n', 'whole-key', '', { lease });
      await snapshotter.commit('n', 'whole', 'whole-key', { lease });
      await snapshotter.prepare('n', 'half', '', { lease });
      await using writer = await content.writer('n', { ref: 'fetched', lease });
      await writer.write(Buffer.from('x'));
      await new Promise(() => {});
    });
    await waitFor('the write', async () => (await content.listStatuses('n')).some(({ offset }) => offset === 1));
    await stores.close();

    stores = testStores(dir);
    expect(stores.leases.releaseOwn()).toBe(1);
    await stores.collector.collect();
    expect([...stores.snapshotter.list('n')].map(({ name }) => name)).toEqual(['client', 'whole']);
    expect(await stores.content.listStatuses('n')).toHaveLength(1);
    const [own] = stores.leases.list('n', ['id~=^berth-']);
    const left = Date.parse(own?.labels['containerd.io/gc.expire'] ?? '') - Date.now();
    expect(left).toBeLessThanOrEqual(3_600_000);
    expect(stores.leases.list('n', ['id=="of a client"'])).toHaveLength(1);
  });
});
