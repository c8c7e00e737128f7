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

const target = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: `sha256:${'a'.repeat(64)}`, size: 10 };
const other = { ...target, digest: `sha256:${'b'.repeat(64)}`, annotations: { x: 'y' } };

describe('an image', () => {
  it('is created, found and published, and its name is taken in its namespace only', () => {
    const created = stores.images.create('n', { name: 'busybox', target, labels: { l: '1' } });
    expect(stores.images.get('n', 'busybox')).toEqual(created);
    expect(stores.published).toEqual([
      { ns: 'n', topic: '/images/create', value: { name: 'busybox', labels: { l: '1' } } },
    ]);
    expect(() => stores.images.create('n', { name: 'busybox', target })).toThrow(
      expect.objectContaining({ code: 'already_exists' }),
    );
    stores.images.create('m', { name: 'busybox', target });
    expect(() => stores.images.get('x', 'busybox')).toThrow(expect.objectContaining({ code: 'not_found' }));
  });

  it.each([
    { name: '', target },
    { name: 'i', target: { ...target, digest: 'sha256:zz' } },
    { name: 'i', target: { ...target, size: 0 } },
    { name: 'i', target: { ...target, mediaType: '' } },
    { name: 'i', target, labels: { l: 'x'.repeat(5000) } },
  ])('is refused when it is malformed: %#', (image) => {
    expect(() => stores.images.create('n', image)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('changes what the mask names and nothing else', () => {
    stores.images.create('n', { name: 'i', target, labels: { a: '1', b: '2' } });
    stores.images.update('n', { name: 'i', target: other, labels: { a: '9', b: '9' } }, ['labels.a']);
    expect(stores.images.get('n', 'i')).toMatchObject({
      target: { digest: target.digest },
      labels: { a: '9', b: '2' },
    });
    stores.images.update('n', { name: 'i', target: other, labels: {} }, ['target']);
    expect(stores.images.get('n', 'i')).toMatchObject({ target: other, labels: { a: '9', b: '2' } });
    stores.images.update('n', { name: 'i', target: { ...other, annotations: { k: 'v' } } }, ['annotations.k']);
    expect(stores.images.get('n', 'i').target.annotations).toEqual({ x: 'y', k: 'v' });
    stores.images.update('n', { name: 'i', target, labels: { all: 'new' } });
    expect(stores.images.get('n', 'i')).toMatchObject({ target: { digest: target.digest }, labels: { all: 'new' } });
  });

  it('refuses to change what has no such field or is not there', () => {
    const update = (name: string, paths: string[]) => () => stores.images.update('n', { name, target }, paths);
    expect(update('i', [])).toThrow(expect.objectContaining({ code: 'not_found' }));
    stores.images.create('n', { name: 'i', target });
    expect(update('i', ['created_at'])).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(update('', [])).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('is listed by name, digest and label', () => {
    stores.images.create('n', { name: 'one', target, labels: { 'a.b': 'x' } });
    stores.images.create('n', { name: 'two', target: other });
    const names = (...filters: string[]): string[] => stores.images.list('n', filters).map(({ name }) => name);
    expect(names()).toEqual(['one', 'two']);
    expect(names('name~=^t')).toEqual(['two']);
    expect(names(`target.digest==${target.digest}`)).toEqual(['one']);
    expect(names('labels."a.b"==x')).toEqual(['one']);
    expect(names('annotations.x==y', 'name==one')).toEqual(['one', 'two']);
    expect(() => names('==')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('is deleted once, and only while it points where the caller thinks', () => {
    stores.images.create('n', { name: 'i', target });
    expect(() => stores.images.delete('n', 'i', other.digest)).toThrow(expect.objectContaining({ code: 'not_found' }));
    stores.images.delete('n', 'i', target.digest);
    expect(() => stores.images.delete('n', 'i')).toThrow(expect.objectContaining({ code: 'not_found' }));
    expect(stores.published.at(-1)).toEqual({ ns: 'n', topic: '/images/delete', value: { name: 'i' } });
  });

  it('is held by the lease it was made under only when it can expire', () => {
    stores.leases.create('n', 'l');
    stores.images.create('n', { name: 'lasting', target }, 'l');
    const labels = { 'containerd.io/gc.expire': '2000-01-01T00:00:00Z' };
    stores.images.create('n', { name: 'passing', target, labels }, 'l');
    expect(stores.leases.resources('n', 'l')).toEqual([{ type: 'images', id: 'passing' }]);
  });
});
