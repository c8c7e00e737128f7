import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { typeUrls } from '#common/typeurl.ts';
import { type DatabaseOptions, openDatabase } from '../../../apps/core/metadata/database.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let stores: TestStores;
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

const sandbox = {
  sandboxer: 'shim',
  runtime: { name: 'r', options: undefined },
  spec: undefined,
  labels: {},
  extensions: {},
};

function container(id: string): void {
  stores.containers.create('n', {
    id,
    labels: {},
    image: '',
    runtime: { name: 'r', options: undefined },
    spec: { typeUrl: typeUrls.spec, value: new Uint8Array() },
    snapshotter: '',
    snapshotKey: '',
    sandbox: '',
    extensions: {},
  });
}

async function blob(text: string): Promise<string> {
  await using writer = await stores.content.writer('n', { ref: text });
  await writer.write(Buffer.from(text));
  return await writer.commit();
}

/** What each kind of record is, how two of them are made, and where its labels are. */
async function twoOfEach(): Promise<void> {
  for (const name of ['bad', 'good']) {
    container(name);
    stores.images.create('n', { name, target: { digest: digest('a'), size: 1, mediaType: 'm' }, labels: {} });
    stores.leases.create('n', name);
    await stores.snapshotter.prepare('n', name, '');
    await blob(name);
  }
  stores.namespaces.create('good');
}

const damages = [`labels = 'x'`, `labels = '[]'`, `labels = '{"a":1}'`, `labels = 'null'`];

describe('a record that is damaged', () => {
  it('does not stop the start when its file is gone, too', async () => {
    await twoOfEach();
    stores.sandboxes.create('n', { ...sandbox, id: 'bad' });
    stores.db.run(`UPDATE images SET labels = 'x' WHERE name = 'bad'`);
    stores.db.run(`UPDATE sandboxes SET labels = 'x' WHERE id = 'bad'`);
    await stores.close();
    for (const kind of ['images', 'sandboxes']) rmSync(join(dir, kind), { recursive: true });
    stores = testStores(dir);
    expect(stores.images.list('n').map(({ name }) => name)).toEqual(['good']);
    expect(stores.sandboxes.list('n')).toEqual([]);
  });

  for (const damage of damages) {
    it(`is passed over in lists, named when it is asked for, and can be deleted: ${damage}`, async () => {
      await twoOfEach();
      const { db, containers, images, leases, snapshotter, content, namespaces } = stores;
      const bad = content.list('n').find(({ size }) => size === 3)?.digest ?? '';
      db.run(`UPDATE containers SET ${damage} WHERE id = 'bad'`);
      db.run(`UPDATE images SET ${damage} WHERE name = 'bad'`);
      db.run(`UPDATE leases SET ${damage} WHERE id = 'bad'`);
      db.run(`UPDATE snapshots SET ${damage} WHERE name = 'bad'`);
      db.run(`UPDATE blobs SET ${damage} WHERE digest = ?`, bad);
      db.run(`UPDATE namespaces SET ${damage} WHERE name = 'n'`);

      expect(containers.list('n').map(({ id }) => id)).toEqual(['good']);
      expect(images.list('n').map(({ name }) => name)).toEqual(['good']);
      expect(leases.list('n').map(({ id }) => id)).toEqual(['good']);
      expect([...snapshotter.list('n')].map(({ name }) => name)).toEqual(['good']);
      expect(content.list('n').map(({ size }) => size)).toEqual([4]);
      expect(namespaces.list().map(({ name }) => name)).toEqual(['good']);

      const loss = (text: string) =>
        expect.objectContaining({ code: 'data_loss', message: expect.stringContaining(text) });
      expect(() => containers.get('n', 'bad')).toThrow(loss('container "bad" in namespace "n"'));
      expect(() => images.get('n', 'bad')).toThrow(loss('image "bad" in namespace "n"'));
      expect(() => content.info('n', bad)).toThrow(loss(bad));

      containers.delete('n', 'bad');
      images.delete('n', 'bad');
      leases.delete('n', 'bad');
      await snapshotter.remove('n', 'bad');
      content.delete('n', bad);
    });
  }

  it('with a time that there is not is passed over as well', () => {
    for (const id of ['bad', 'good']) container(id);
    stores.db.run("UPDATE containers SET created_at = 9000000000000000000 WHERE id = 'bad'");
    expect(stores.containers.list('n').map(({ id }) => id)).toEqual(['good']);
  });

  it('keeps the collector from taking what it may refer to, in its own namespace only', async () => {
    await blob('kept');
    stores.images.create('n', { name: 'bad', target: { digest: digest('a'), size: 1, mediaType: 'm' }, labels: {} });
    await using writer = await stores.content.writer('other', { ref: 'r' });
    await writer.write(Buffer.from('swept'));
    await writer.commit();
    stores.db.run("UPDATE images SET labels = 'x'");
    expect(await stores.collector.collect()).toMatchObject({ blobs: 1 });
    expect(stores.content.list('n')).toHaveLength(1);
    stores.images.delete('n', 'bad');
    expect(await stores.collector.collect()).toMatchObject({ blobs: 1 });
  });

  it('is reported once, however often it is met', async () => {
    container('bad');
    stores.db.run("UPDATE containers SET labels = 'x'");
    await stores.close();
    const reported: string[] = [];
    const onDamage: DatabaseOptions['onDamage'] = (record) => reported.push(record);
    using db = openDatabase(`${dir}/meta.db`, { onDamage });
    for (let round = 0; round < 3; round++) db.reportDamage('container "bad"', new Error('x'));
    expect(reported).toEqual(['container "bad"']);
    stores = testStores(dir);
  });
});
