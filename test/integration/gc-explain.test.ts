import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { BerthCommand } from '../support/berth-command.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { waitFor } from '../support/wait-for.ts';

interface Explained {
  readonly total: number;
  readonly items: readonly {
    readonly kind: string;
    readonly namespaces: readonly string[];
    readonly id: string;
    readonly bytes: number;
    readonly owners: readonly { readonly kind: string; readonly namespace: string; readonly id: string }[];
  }[];
}

const image = busyboxImage({ files: [{ name: 'own', data: 'explained' }] });
const name = 'docker.io/library/explained:1';
const snapshotter = 'overlayfs';

const suite = useBerthd();
const { text, json } = new BerthCommand(suite);

beforeAll(async () => {
  writeFileSync(join(suite.dir, 'image.tar'), ociArchive(image, name));
  await text('images', 'import', join(suite.dir, 'image.tar'));
});

const explained = async () => (await json('gc', '--explain')) as Explained;

/** Bytes below a directory, as du(1) counts them. */
function onDisk(path: string): number {
  return Number(execFileSync('du', ['--summarize', '--block-size=1', path], { encoding: 'utf8' }).split('\t')[0]);
}

test('what is explained adds up to what is on disk', async () => {
  const { clients, berthd } = suite;
  const write = clients.content.write({});
  await write.send({ action: 'WRITE', ref: 'half', total: 100_000, offset: 0, data: Buffer.alloc(50_000, 7) });
  await write[Symbol.asyncIterator]().next();
  // The daemon goes on with its own records now and then.
  await waitFor('the sums to agree', async () => {
    const before = onDisk(berthd.root);
    const { total, items } = await explained();
    expect(total).toBe(items.reduce((sum, { bytes }) => sum + bytes, 0));
    return total === before && before === onDisk(berthd.root);
  });
  const ingest = (await explained()).items.find(({ kind }) => kind === 'ingest');
  expect(ingest).toMatchObject({
    id: 'half',
    namespaces: [suite.namespace],
    owners: [{ kind: 'write', namespace: suite.namespace, id: 'half' }],
  });
  expect(ingest?.bytes).toBeGreaterThan(49_000);
  write.end();
});

test('blobs and snapshots name the images, containers and leases that need them', async () => {
  const { clients, namespace } = suite;
  await clients.leases.create({ id: 'held' });
  await clients.snapshots.prepare({ snapshotter, key: 'leased' }, { lease: 'held' });
  const parent = (await Array.fromAsync(clients.snapshots.list({ snapshotter })))
    .flatMap(({ info }) => info)
    .find((info) => info.kind === 'COMMITTED' && info.parent !== '')?.name;
  const labels = { 'containerd.io/gc.root': 'x' };
  await clients.snapshots.prepare({ snapshotter, key: 'writable', parent: parent ?? '', labels });
  const runtime = { name: 'io.containerd.runc.v2' };
  const spec = { type_url: 'types.containerd.io/opencontainers/runtime-spec/1/Spec', value: Buffer.from('{}') };
  await clients.containers.create({ container: { id: 'c', snapshotter, snapshotKey: 'writable', runtime, spec } });

  const { items } = await explained();
  const ownersOf = (id: string) =>
    items
      .find((item) => item.id === id)
      ?.owners.map(({ kind, id }) => `${kind} ${id}`)
      .sort();
  for (const { digest } of [image.manifest, image.config, ...image.layers]) {
    expect(ownersOf(digest)).toEqual([`image ${name}`]);
  }
  expect(ownersOf(`${snapshotter}/${parent}`)).toEqual(['container c', `image ${name}`, 'label containerd.io/gc.root']);
  expect(ownersOf(`${snapshotter}/writable`)).toEqual(['container c', 'label containerd.io/gc.root']);
  expect(ownersOf(`${snapshotter}/leased`)).toEqual(['lease held']);
  expect(items).toContainEqual(
    expect.objectContaining({ kind: 'lease', id: 'held', namespaces: [namespace], bytes: 0 }),
  );
  expect(items.filter(({ kind }) => kind === 'other')).toEqual([]);

  const table = await text('gc', '--explain');
  expect(table).toMatch(new RegExp(`\nblob +[\\d.]+ \\w+ +${namespace} +${image.config.digest} +image ${name}\n`));
  expect(table).toMatch(/\n[\d.]+ \w+ in \d+ items; [\d.]+ \w+ of it nobody needs\n$/);
});

test('a blob that nobody needs is said to be nobody’s, also one without a record', async () => {
  const stray = join(suite.berthd.root, 'content/blobs/sha256', '1'.repeat(64));
  writeFileSync(stray, 'stray');
  const { items } = await explained();
  expect(items.find(({ id }) => id.endsWith('1'.repeat(64)))).toMatchObject({
    kind: 'blob',
    owners: [],
    namespaces: [],
  });
});
