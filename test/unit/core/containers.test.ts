import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ContainerInput } from '../../../apps/core/containers/store.ts';
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

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

function container(over: Partial<ContainerInput> = {}): ContainerInput {
  return {
    id: 'c1',
    labels: { app: 'web' },
    image: 'docker.io/library/busybox:latest',
    runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'containerd.runc.v1.Options', value: bytes('o') } },
    spec: { typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: bytes('{}') },
    snapshotter: 'overlayfs',
    snapshotKey: 'c1',
    sandbox: 'pod',
    extensions: { 'berth.cri.v1': { typeUrl: 'berth.cri.v1.Container', value: bytes('{"v":1}') } },
    ...over,
  };
}

describe('a container', () => {
  it('is read back as it was created, one by one and listed', () => {
    const created = stores.containers.create('n', container());
    expect(created).toMatchObject(container());
    expect(stores.containers.get('n', 'c1')).toEqual(created);
    expect(stores.containers.list('n')).toEqual([created]);
    expect(stores.containers.list('m')).toEqual([]);
    expect(stores.published.map(({ topic }) => topic)).toEqual(['/containers/create']);
  });

  it('beyond the thousand that are kept is read anew, and is the same', () => {
    const ids = Array.from({ length: 1030 }, (_, index) => `c${String(index).padStart(4, '0')}`);
    for (const id of ids) stores.containers.create('n', container({ id }));
    const isKept = (id: string): boolean => stores.containers.keeps('n', stores.containers.get('n', id));
    expect(ids.filter(isKept)).toEqual(ids.slice(0, 1024));
    expect(stores.containers.get('n', 'c1029')).toMatchObject(container({ id: 'c1029' }));
    expect(stores.containers.list('n').map(({ id }) => id)).toEqual(ids);
    // One that goes makes room.
    stores.containers.delete('n', 'c0000');
    expect(isKept('c1029')).toBe(true);
  });

  it('is one of many that are listed few at a time, each with its extensions, also while they change', () => {
    const ids = Array.from({ length: 300 }, (_, index) => `c${String(index).padStart(3, '0')}`);
    for (const id of ids) {
      const value = bytes(id);
      stores.containers.create('n', container({ id, extensions: { own: { typeUrl: 'a/b', value } } }));
    }
    const listed = stores.containers.list('n');
    expect(listed.map(({ id }) => id)).toEqual(ids);
    expect(listed.map(({ extensions }) => Buffer.from(extensions.own?.value ?? []).toString())).toEqual(ids);

    const seen: string[] = [];
    for (const { id } of stores.containers.each('n')) {
      seen.push(id);
      stores.containers.delete('n', id);
    }
    expect(seen).toEqual(ids);
    expect(stores.containers.list('n')).toEqual([]);
  });

  it('is the same object to every reader until it changes, and another one then', () => {
    stores.containers.create('n', container());
    const first = stores.containers.get('n', 'c1');
    expect(stores.containers.keeps('n', first)).toBe(true);
    expect(stores.containers.list('n')[0]).toBe(first);
    stores.containers.update('n', container({ labels: { app: 'mail' } }), ['labels']);
    expect(stores.containers.keeps('n', first)).toBe(false);
    expect(stores.containers.list('n')[0]?.labels).toEqual({ app: 'mail' });
    stores.containers.delete('n', 'c1');
    expect(() => stores.containers.get('n', 'c1')).toThrow('not found');
    expect(stores.containers.list('n')).toEqual([]);
    stores.containers.create('n', container({ image: 'other' }));
    expect(stores.containers.get('n', 'c1').image).toBe('other');
  });

  it('is not kept as a transaction saw it that was taken back', () => {
    stores.containers.create('n', container());
    const undone = () =>
      stores.db.tx(() => {
        stores.containers.update('n', container({ image: 'undone' }), ['image']);
        expect(stores.containers.get('n', 'c1').image).toBe('undone');
        expect(stores.containers.list('n')[0]?.image).toBe('undone');
        throw new Error('taken back');
      });
    expect(undone).toThrow('taken back');
    expect(stores.containers.get('n', 'c1').image).toBe(container().image);
    expect(stores.containers.list('n')[0]?.image).toBe(container().image);
  });

  it('has an id of its own in its namespace', () => {
    stores.containers.create('n', container());
    expect(() => stores.containers.create('n', container())).toThrow(
      expect.objectContaining({ code: 'already_exists' }),
    );
    stores.containers.create('m', container());
  });

  it.each([
    { id: '../x' },
    { runtime: { name: '', options: undefined } },
    { spec: undefined },
    { snapshotter: '' },
    { extensions: { '': { typeUrl: 't', value: bytes('') } } },
    { labels: { l: 'x'.repeat(5000) } },
  ] as Partial<ContainerInput>[])('is refused when it is malformed: %#', (over) => {
    const create = () => stores.containers.create('n', container(over));
    expect(create).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    expect(stores.containers.list('n')).toEqual([]);
  });

  it('changes what the mask names and nothing else', () => {
    stores.containers.create('n', container());
    const changed = container({
      labels: { app: 'db', more: 'x' },
      image: 'other',
      extensions: { second: { typeUrl: 't', value: bytes('2') } },
    });
    stores.containers.update('n', changed, ['labels.more', 'extensions.second']);
    expect(stores.containers.get('n', 'c1')).toMatchObject({
      image: container().image,
      labels: { app: 'web', more: 'x' },
      extensions: { ...container().extensions, ...changed.extensions },
    });
    stores.containers.update('n', container({ extensions: {} }), ['extensions.berth.cri.v1']);
    expect(Object.keys(stores.containers.get('n', 'c1').extensions)).toEqual(['second']);
    stores.containers.update('n', changed);
    expect(stores.containers.get('n', 'c1')).toMatchObject(changed);
    expect(stores.published.at(-1)?.topic).toBe('/containers/update');
  });

  it('keeps its runtime and snapshotter for good', () => {
    stores.containers.create('n', container());
    const runtime = { name: 'other', options: undefined };
    for (const [over, paths] of [
      [{ runtime }, []],
      [{ snapshotter: 'native' }, []],
      [{ runtime }, ['runtime']],
    ] as const) {
      expect(() => stores.containers.update('n', container(over), [...paths])).toThrow(
        expect.objectContaining({ code: 'invalid_argument' }),
      );
    }
    expect(() => stores.containers.update('n', container({ id: 'x' }))).toThrow(
      expect.objectContaining({ code: 'not_found' }),
    );
  });

  it('is listed by id, image, runtime and label', () => {
    stores.containers.create('n', container());
    stores.containers.create('n', container({ id: 'c2', image: '', labels: {} }));
    const ids = (...filters: string[]): string[] => stores.containers.list('n', filters).map(({ id }) => id);
    expect(ids('id==c2')).toEqual(['c2']);
    expect(ids('image~=busybox')).toEqual(['c1']);
    expect(ids('runtime.name==io.containerd.runc.v2')).toEqual(['c1', 'c2']);
    expect(ids('labels.app==web')).toEqual(['c1']);
  });

  it('is deleted once, with its extensions', () => {
    stores.containers.create('n', container());
    stores.containers.delete('n', 'c1');
    expect(() => stores.containers.delete('n', 'c1')).toThrow(expect.objectContaining({ code: 'not_found' }));
    stores.containers.create('n', container({ extensions: {} }));
    expect(stores.containers.get('n', 'c1').extensions).toEqual({});
  });
});
