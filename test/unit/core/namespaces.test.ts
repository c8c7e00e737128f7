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

describe('a namespace', () => {
  it('is created once, with labels, and told to the world', () => {
    stores.namespaces.create('k8s.io', { a: '1', empty: '' });
    expect(stores.namespaces.get('k8s.io')).toEqual({ name: 'k8s.io', labels: { a: '1' } });
    expect(stores.published).toEqual([
      { ns: 'k8s.io', topic: '/namespaces/create', value: { name: 'k8s.io', labels: { a: '1' } } },
    ]);
    expect(() => stores.namespaces.create('k8s.io')).toThrow(expect.objectContaining({ code: 'already_exists' }));
  });

  it.each(['', 'a/b', '../x', '-a', 'a'.repeat(77)])('may not be called %j', (name) => {
    expect(() => stores.namespaces.create(name)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(() => stores.namespaces.ensure(name)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('changes one label by its path, and loses one that is set to nothing', () => {
    stores.namespaces.create('n', { 'a.b/c': '1', keep: 'me' });
    stores.namespaces.update('n', { 'a.b/c': '2', keep: 'not looked at' }, ['labels.a.b/c']);
    expect(stores.namespaces.get('n').labels).toEqual({ 'a.b/c': '2', keep: 'me' });
    stores.namespaces.update('n', {}, ['labels.keep']);
    expect(stores.namespaces.get('n').labels).toEqual({ 'a.b/c': '2' });
    stores.namespaces.update('n', { new: 'all' });
    expect(stores.namespaces.get('n').labels).toEqual({ new: 'all' });
    for (const path of ['name', 'labels']) {
      expect(() => stores.namespaces.update('n', {}, [path])).toThrow(
        expect.objectContaining({ code: 'invalid_argument' }),
      );
    }
  });

  it('comes to be with the first thing written into it', () => {
    stores.leases.create('fresh', 'lease');
    stores.namespaces.update('labelled', { a: '1' }, ['labels.a']);
    expect(stores.namespaces.list()).toEqual([
      { name: 'fresh', labels: {} },
      { name: 'labelled', labels: { a: '1' } },
    ]);
  });

  it('does not come to be by an update that fails, or has nothing to say', () => {
    const refused = expect.objectContaining({ code: 'invalid_argument' });
    expect(() => stores.namespaces.update('n', { a: '1' }, ['labels'])).toThrow(refused);
    expect(() => stores.namespaces.update('n', { a: 'x'.repeat(4097) })).toThrow(refused);
    expect(stores.namespaces.update('n', {})).toEqual({ name: 'n', labels: {} });
    expect(stores.namespaces.list()).toEqual([]);
  });

  it('is deleted only when empty, and its leases with it', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    stores.images.create('n', { name: 'i', target: { mediaType: 'm', digest, size: 1 } });
    await stores.snapshotter.prepare('n', 'key', '');
    expect(() => stores.namespaces.delete('n')).toThrow(/must be empty, but it still has images, snapshots/);
    stores.images.delete('n', 'i');
    await stores.snapshotter.remove('n', 'key');
    stores.leases.create('n', 'lease');
    stores.namespaces.delete('n');
    expect(stores.namespaces.list()).toEqual([]);
    expect(stores.leases.list('n')).toEqual([]);
    expect(() => stores.namespaces.delete('n')).toThrow(expect.objectContaining({ code: 'not_found' }));
  });
});
