import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SandboxInput } from '../../../apps/core/sandboxes/store.ts';
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

function sandbox(over: Partial<SandboxInput> = {}): SandboxInput {
  return {
    id: 's1',
    sandboxer: 'shim',
    runtime: { name: 'io.containerd.kata.v2', options: { typeUrl: 'runtimeoptions.v1.Options', value: bytes('o') } },
    spec: { typeUrl: 'spec', value: bytes('{}') },
    labels: { app: 'web', tier: 'front' },
    extensions: { a: { typeUrl: 'a', value: bytes('1') }, b: { typeUrl: 'b', value: bytes('2') } },
    ...over,
  };
}

describe('the record of a sandbox', () => {
  it('is read back as it was created, one by one and listed, also after a restart', async () => {
    const created = stores.sandboxes.create('n', sandbox());
    expect(created).toMatchObject(sandbox());
    expect(created.createdAt.equals(created.updatedAt)).toBe(true);
    await stores.close();
    stores = testStores(dir);
    expect(stores.sandboxes.get('n', 's1')).toEqual(created);
    expect(stores.sandboxes.list('n')).toEqual([created]);
    expect(stores.sandboxes.list('m')).toEqual([]);
  });

  it('may say as little as its id', () => {
    const bare = {
      spec: undefined,
      runtime: { name: '', options: undefined },
      labels: {},
      extensions: {},
      sandboxer: '',
    };
    stores.sandboxes.create('n', sandbox(bare));
    expect(stores.sandboxes.get('n', 's1')).toMatchObject(bare);
  });

  it('is found by id and labels', () => {
    stores.sandboxes.create('n', sandbox());
    stores.sandboxes.create('n', sandbox({ id: 's2', labels: { app: 'db' } }));
    const found = (...filters: string[]) => stores.sandboxes.list('n', filters).map(({ id }) => id);
    expect(found('id==s2')).toEqual(['s2']);
    expect(found('labels.app==web')).toEqual(['s1']);
    expect(found('labels.tier')).toEqual(['s1']);
    expect(found('labels.app==web', 'labels.app==db')).toEqual(['s1', 's2']);
    expect(() => found('labels.app=')).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('has an id of its own in its namespace, which is an identifier', () => {
    stores.sandboxes.create('n', sandbox());
    expect(() => stores.sandboxes.create('n', sandbox())).toThrow(expect.objectContaining({ code: 'already_exists' }));
    stores.sandboxes.create('m', sandbox());
    for (const id of ['', '../x', 'a/b', 'x'.repeat(77)]) {
      const create = () => stores.sandboxes.create('n', sandbox({ id }));
      expect(create, id).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
    }
  });

  it('is changed as a whole, or where the mask says', () => {
    const { createdAt } = stores.sandboxes.create('n', sandbox());
    const update = (over: Partial<SandboxInput>, ...paths: string[]) =>
      stores.sandboxes.update('n', sandbox({ labels: {}, extensions: {}, spec: undefined, ...over }), paths);
    expect(update({ labels: { app: 'db' } }, 'labels.app')).toMatchObject({
      labels: { app: 'db', tier: 'front' },
      spec: sandbox().spec,
    });
    expect(update({}, 'labels.app').labels).toEqual({ tier: 'front' });
    expect(Object.keys(update({}, 'extensions.a').extensions)).toEqual(['b']);
    const runtime = { name: 'other', options: undefined };
    expect(update({ runtime }, 'runtime').runtime).toEqual(runtime);
    const whole = update({ runtime, sandboxer: 'ignored' });
    expect(whole).toMatchObject({ runtime, labels: {}, extensions: {}, spec: undefined, sandboxer: 'shim' });
    expect(whole.createdAt.equals(createdAt)).toBe(true);
    expect(Temporal.Instant.compare(whole.updatedAt, createdAt)).toBeGreaterThanOrEqual(0);
    expect(stores.sandboxes.get('n', 's1')).toEqual(whole);
  });

  it('refuses a change of what never changes, and of what it does not know', () => {
    stores.sandboxes.create('n', sandbox());
    const invalid = expect.objectContaining({ code: 'invalid_argument' });
    const renamed = sandbox({ runtime: { name: 'other', options: undefined } });
    expect(() => stores.sandboxes.update('n', renamed)).toThrow(invalid);
    for (const path of ['sandboxer', 'id', 'created_at', 'label']) {
      expect(() => stores.sandboxes.update('n', sandbox(), [path]), path).toThrow(invalid);
    }
    const missing = () => stores.sandboxes.update('n', sandbox({ id: 'none' }));
    expect(missing).toThrow(expect.objectContaining({ code: 'not_found' }));
  });

  it('goes with its deletion, or with its namespace', () => {
    stores.sandboxes.create('n', sandbox());
    stores.sandboxes.delete('n', 's1');
    const notFound = expect.objectContaining({ code: 'not_found' });
    expect(() => stores.sandboxes.get('n', 's1')).toThrow(notFound);
    expect(() => stores.sandboxes.delete('n', 's1')).toThrow(notFound);
    stores.sandboxes.create('n', sandbox({ extensions: {} }));
    expect(stores.sandboxes.get('n', 's1').extensions).toEqual({});
    stores.namespaces.delete('n');
    expect(stores.sandboxes.list('n')).toEqual([]);
  });
});
