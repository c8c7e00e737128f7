import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isCode } from '#common/errors.ts';
import { LayerApplier } from '../../apps/core/diff/apply.ts';
import type { Descriptor } from '../../apps/core/registry/document.ts';
import { chainIdsOf, ImageUnpacker, type UnpackRequest } from '../../apps/core/unpack/image-unpacker.ts';
import { digestOf } from '../support/busybox-image.ts';
import { type TestStores, testStores } from '../support/core-stores.ts';
import { whileMounted } from '../support/mounted.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { type TarMember, tarArchive } from '../support/tar-archive.ts';
import { describeTree } from '../support/trees.ts';
import { waitFor } from '../support/wait-for.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar';

let dir: string;
let stores: TestStores;
let applier: LayerApplier;

beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
  applier = new LayerApplier(`${dir}/cache`);
});

afterEach(async () => {
  applier[Symbol.dispose]();
  await stores.close();
  removeScratch(dir);
});

async function stored(mediaType: string, data: Buffer): Promise<Descriptor> {
  const digest = digestOf(data);
  const writer = await stores.content.writer('n', { ref: digest, total: data.length, expected: digest });
  await writer.write(data);
  await writer.commit();
  return { mediaType, digest, size: data.length };
}

/** Each layer, the lowest first, uses what those below have without describing it. */
const layers: readonly (readonly TarMember[])[] = [
  [
    { name: 'usr/', type: '5', mode: 0o751, uid: 7, mtime: 1_000 },
    { name: 'usr/lib/', type: '5', mode: 0o711, mtime: 2_000 },
    { name: 'usr/lib/old', data: 'old' },
    { name: 'usr/lib/kept', data: 'kept' },
    { name: 'lib', type: '2', linkName: 'usr/lib' },
    { name: 'opaque/', type: '5', mode: 0o700, mtime: 3_000 },
    { name: 'opaque/below', data: 'below' },
  ],
  [
    { name: 'begun-1' },
    { name: './', type: '5', mode: 0o711, uid: 9 },
    { name: 'usr/lib/.wh.old' },
    { name: 'lib/through-the-link', data: 'one' },
    { name: 'opaque/.wh..wh..opq' },
    { name: 'opaque/own', data: 'own' },
    { name: 'gone/', type: '5' },
  ],
  [
    { name: 'begun-2' },
    { name: '.wh.gone' },
    { name: 'lib/through-the-link', data: 'two' },
    { name: 'usr/lib/old', data: 'back again' },
    { name: 'usr/.wh.nothing' },
    { name: 'linked', type: '1', linkName: 'usr/lib/kept' },
  ],
];

async function imageOf(members: readonly (readonly TarMember[])[]) {
  const archives = members.map((layer) => tarArchive(layer));
  const blobs: Descriptor[] = [];
  for (const archive of archives) blobs.push(await stored(LAYER, archive));
  const config = await stored('application/vnd.oci.image.config.v1+json', Buffer.from('{}'));
  return { config, layers: blobs, diffIds: archives.map(digestOf) };
}

function request(
  image: Awaited<ReturnType<typeof imageOf>>,
  snapshotter: string,
  more: Partial<UnpackRequest> = {},
): UnpackRequest {
  const { id } = stores.leases.create('n', `lease-${snapshotter}`, {});
  const signal = new AbortController().signal;
  return {
    ...{ ns: 'n', snapshotter: stores.snapshotters.named(snapshotter), lease: id, signal },
    available: async () => {},
    ...image,
    ...more,
  };
}

function rootOf(path: string): string {
  const { mode, uid } = fs.statSync(path);
  return `root ${mode.toString(8)} ${uid}`;
}

/** What a snapshot shows. A directory's time is left out: a plain one gets a new one with each file that comes into it. */
function shown(snapshotter: string, chainId: string): Promise<string[]> {
  const { snapshotters } = stores;
  return snapshotters
    .named(snapshotter)
    .view('n', `view-${snapshotter}`, chainId)
    .then((mounts) =>
      whileMounted(dir, mounts, (path) =>
        [rootOf(path), ...describeTree(path)].map((line) =>
          line.replace(/trusted\.overlay\S+/g, '').replace(/ (4\d+ \d+ \d+ \d+) \d+/, ' $1'),
        ),
      ),
    );
}

describe('the layers of an image', () => {
  it('are unpacked while those below are still on their way, and committed in their order', async () => {
    const image = await imageOf(layers);
    const unpacker = new ImageUnpacker({ ...stores, applier }, 2);
    const done: string[] = [];
    const top = await unpacker.unpack(
      request(image, 'overlayfs', {
        available: async (layer) => {
          if (layer !== image.layers[0]) return;
          const begun = (): string[] => fs.globSync('snapshots/overlayfs/*/fs/begun-*', { cwd: dir });
          await waitFor('both upper layers to be begun', () => begun().length === 2);
        },
        onUnpacked: ({ digest }) => void done.push(digest),
      }),
    );
    const digests = image.layers.map(({ digest }) => digest);
    expect(done).toEqual(digests);
    expect(top).toBe(chainIdsOf(image.diffIds).at(-1));

    await unpacker.unpack(request(image, 'native'));
    const expected = await shown('native', top);
    expect(expected.map((line) => line.split(' ')[0])).toEqual([
      'root',
      'begun-1',
      'begun-2',
      'lib',
      'linked',
      'opaque',
      'opaque/own',
      'usr',
      'usr/lib',
      'usr/lib/kept',
      'usr/lib/old',
      'usr/lib/through-the-link',
    ]);
    expect(expected[0]).toBe('root 40711 9');
    expect(await shown('overlayfs', top)).toEqual(expected);
  });

  it('are written in directories that only layers below have, before those are there', async () => {
    const image = await imageOf([
      [
        { name: 'usr/', type: '5', mode: 0o751, uid: 7, mtime: 1_000 },
        { name: 'usr/lib/', type: '5', mode: 0o711, mtime: 2_000 },
        { name: 'usr/lib/old', data: 'old' },
        { name: 'lib', type: '2', linkName: 'usr/lib' },
      ],
      [
        { name: 'usr/lib/early', data: 'early' },
        { name: 'usr/new/early', data: 'early' },
        { name: 'usr/new/', type: '5', mode: 0o700, mtime: 4_000 },
      ],
      [
        { name: 'usr/new/later', data: 'later' },
        { name: 'lib/early', data: 'through the link' },
        { name: 'lib/gone', data: 'gone' },
      ],
      [
        { name: 'lib/early', data: 'again' },
        { name: 'lib/linked', type: '1', linkName: 'lib/old' },
        { name: 'usr/lib/.wh.gone' },
      ],
    ]);
    const early = (): string[] => fs.globSync('snapshots/overlayfs/*/fs/{usr/lib,lib}/early', { cwd: dir });
    const top = await new ImageUnpacker({ ...stores, applier }, 3).unpack(
      request(image, 'overlayfs', {
        available: async (layer) => {
          if (layer === image.layers[0]) await waitFor('all others to be written', () => early().length === 3);
        },
      }),
    );
    expect(early()).toHaveLength(3);
    expect(early().every((path) => path.endsWith('/usr/lib/early'))).toBe(true);
    await new ImageUnpacker({ ...stores, applier }).unpack(request(image, 'native'));
    const expected = await shown('native', top);
    expect(expected.map((line) => line.split(' ')[0])).toEqual([
      ...['root', 'lib', 'usr', 'usr/lib', 'usr/lib/early', 'usr/lib/linked', 'usr/lib/old'],
      ...['usr/new', 'usr/new/early', 'usr/new/later'],
    ]);
    expect(await shown('overlayfs', top)).toEqual(expected);
  });

  it('leave nothing behind when the lowest is damaged and the others wait for it', async () => {
    const image = await imageOf(layers);
    const unpacker = new ImageUnpacker({ ...stores, applier }, 2);
    const wrong = { ...image, diffIds: [digestOf(Buffer.from('other')), ...image.diffIds.slice(1)] };
    const failure = unpacker.unpack(request(wrong, 'overlayfs'));
    await expect(failure).rejects.toSatisfy((error) => isCode(error, 'data_loss'));
    expect([...stores.snapshotters.named('overlayfs').list('n')]).toEqual([]);
  });

  it('are done by the lowest alone where no other may run ahead', async () => {
    const image = await imageOf(layers);
    const top = await new ImageUnpacker({ ...stores, applier }, 0).unpack(request(image, 'overlayfs'));
    expect(stores.snapshotter.layers('n', top).map((path) => fs.existsSync(path))).toEqual([true, true, true]);
    expect(stores.snapshotter.layers('n', top)[0]).toMatch(new RegExp(`^${join(dir, 'snapshots/overlayfs')}/\\d+/fs$`));
  });
});
