import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, digestOf, dockerArchive, ociArchive, type TestImage } from '../support/busybox-image.ts';
import { type TarMember, tarArchive } from '../support/tar-archive.ts';
import { importArchive } from '../support/transfers.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let images = 0;

function freshImage(): TestImage {
  images++;
  return busyboxImage({ files: [{ name: `own/${images}`, data: `${suite.dir} ${images}` }] });
}

async function targetOf(name: string): Promise<string | undefined> {
  const { image } = await suite.clients.images.get({ name });
  return image?.target?.digest;
}

async function imageNames(): Promise<string[]> {
  return (await suite.clients.images.list({})).images.map(({ name }) => name);
}

async function labelsOf(digest: string): Promise<Record<string, string>> {
  return (await suite.clients.content.info({ digest })).info?.labels ?? {};
}

async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => expect.unreachable('it succeeded'),
    (error: Error) => error,
  );
}

async function blobOf(digest: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const { data } of suite.clients.content.read({ digest })) pieces.push(data as Buffer);
  return Buffer.concat(pieces);
}

/** Files of the top snapshot of an image, seen through a mount. */
async function filesOf(config: string): Promise<string[]> {
  const parent = (await labelsOf(config))['containerd.io/gc.ref.snapshot.overlayfs'] ?? '';
  const view = { snapshotter: 'overlayfs', key: `look-${config}`, parent, labels: { 'containerd.io/gc.root': 'x' } };
  const { mounts } = await suite.clients.snapshots.view(view);
  try {
    const lower = mounts[0]?.options.find((option) => option.startsWith('lowerdir='))?.slice('lowerdir='.length) ?? '';
    return lower.split(':').flatMap((dir) => readdirSync(dir));
  } finally {
    await suite.clients.snapshots.remove({ snapshotter: 'overlayfs', key: `look-${config}` });
  }
}

describe('importing an OCI layout', () => {
  it.each([
    ['plain', (tar: Buffer) => tar],
    ['gzip', (tar: Buffer) => gzipSync(tar)],
    ['zstd', (tar: Buffer) => zstdCompressSync(tar)],
  ])('stores, names and unpacks its images when the archive is %s', async (kind, compress) => {
    const image = freshImage();
    const name = `example.com/import/${kind}:1`;
    const told = await importArchive(suite.clients, compress(ociArchive(image, name)), '');
    expect(await targetOf(name)).toBe(image.manifest.digest);
    expect(told).toContainEqual(['saved', name]);
    expect(await filesOf(image.config.digest)).toEqual(expect.arrayContaining(['own', 'bin']));
    expect((await suite.clients.leases.list({})).leases).toEqual([]);
  });

  it('keeps what it imported when garbage is collected, and nothing once the name is gone', async () => {
    const image = freshImage();
    const name = 'example.com/import/collected:1';
    await importArchive(suite.clients, ociArchive(image, name), '');
    await suite.clients.images.delete({ name: 'example.com/import/plain:1', sync: true });
    expect(await labelsOf(image.manifest.digest)).toMatchObject({
      'containerd.io/gc.ref.content.config': image.config.digest,
    });
    expect(await filesOf(image.config.digest)).toContain('own');
    await suite.clients.images.delete({ name, sync: true });
    await expect(labelsOf(image.config.digest)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('names images as the client’s rules say', async () => {
    const image = freshImage();
    const rule = { name: 'example.com/prefix', isPrefix: true };
    const archive = layoutOf(image, { 'org.opencontainers.image.ref.name': 'v2' });
    await importArchive(suite.clients, archive, '', { store: { name: '', extraReferences: [rule] }, unpack: false });
    expect(await targetOf('example.com/prefix:v2')).toBe(image.manifest.digest);
    const long = { note: 'short', story: 'x'.repeat(5000), 'org.opencontainers.image.ref.name': 'v3' };
    await importArchive(suite.clients, layoutOf(image, long), '', {
      store: { name: '', extraReferences: [rule] },
      unpack: false,
    });
    const noted = await suite.clients.images.get({ name: 'example.com/prefix:v3' });
    expect(noted.image?.target?.annotations).toEqual({ note: 'short', 'org.opencontainers.image.ref.name': 'v3' });

    const other = freshImage();
    const full = ociArchive(other, 'example.com/elsewhere:1');
    const kept = { ...rule, addDigest: true };
    await importArchive(suite.clients, full, '', { store: { name: '', extraReferences: [kept] }, unpack: false });
    expect(await targetOf(`example.com/prefix@${other.manifest.digest}`)).toBe(other.manifest.digest);
    expect(await imageNames()).not.toContain('example.com/elsewhere:1');
    const overwriting = { ...rule, allowOverwrite: true };
    await importArchive(suite.clients, full, '', {
      store: { name: '', extraReferences: [overwriting] },
      unpack: false,
    });
    expect(await targetOf('example.com/elsewhere:1')).toBe(other.manifest.digest);
  });

  it('gives a name of the client’s choice to the whole index', async () => {
    const image = freshImage();
    const archive = layoutOf(image, {});
    await importArchive(suite.clients, archive, 'example.com/import/index:1');
    const digest = (await targetOf('example.com/import/index:1')) ?? '';
    expect(await labelsOf(digest)).toMatchObject({ 'containerd.io/gc.ref.content.m.0': image.manifest.digest });
  });

  it('lets further names go with the one that was asked for', async () => {
    const image = freshImage();
    const main = 'example.com/import/main:1';
    const rule = { name: 'example.com/import/parts', isPrefix: true, addDigest: true };
    await importArchive(suite.clients, layoutOf(image, {}), main, {
      store: { extraReferences: [rule] },
      unpack: false,
    });
    const further = `${rule.name}@${image.manifest.digest}`;
    await suite.clients.images.delete({ name: 'example.com/import/index:1', sync: true });
    expect(await targetOf(further)).toBe(image.manifest.digest);
    await suite.clients.images.delete({ name: main, sync: true });
    expect(await imageNames()).not.toContain(further);
  });

  it('asks for a name when neither client nor archive has one', async () => {
    const error = await failure(importArchive(suite.clients, layoutOf(freshImage(), {}), ''));
    expect(error).toMatchObject({ code: 'not_found' });
    expect(error.message).toMatch(/no image name/);
  });

  it('takes what ctr exports', async () => {
    const image = freshImage();
    const target = join(suite.dir, 'exported.tar');
    const name = 'example.com/exported:1';
    await importArchive(suite.clients, ociArchive(image, name), '');
    ctr('images', 'export', target, name);
    await suite.clients.images.delete({ name, sync: true });
    await expect(labelsOf(image.config.digest)).rejects.toMatchObject({ code: 'not_found' });
    await importArchive(suite.clients, readFileSync(target), '');
    expect(await targetOf(name)).toBe(image.manifest.digest);
    expect(await filesOf(image.config.digest)).toContain('own');
  });
});

describe('importing a docker save archive', () => {
  it('makes a manifest for its layers, plain or compressed, and normalizes its names', async () => {
    const image = freshImage();
    const [base, own] = image.layers.map(({ data }) => data) as [Buffer, Buffer];
    await importArchive(suite.clients, dockerArchive(image, 'docked:2', [gunzipSync(base), own]), '');
    const digest = (await targetOf('docker.io/library/docked:2')) ?? '';
    const { info } = await suite.clients.content.info({ digest });
    expect(info?.labels['containerd.io/gc.ref.content.config']).toBe(image.config.digest);
    expect(await filesOf(image.config.digest)).toEqual(expect.arrayContaining(['own', 'bin']));
  });

  it('compresses plain layers when it is asked to', async () => {
    const image = freshImage();
    const plain = image.layers.map(({ data }) => gunzipSync(data));
    await importArchive(suite.clients, dockerArchive(image, 'pressed:1', plain), '', { forceCompress: true });
    const manifest = await blobOf((await targetOf('docker.io/library/pressed:1')) ?? '');
    const { layers } = JSON.parse(String(manifest)) as { layers: { mediaType: string; digest: string }[] };
    expect(layers.map(({ mediaType }) => mediaType)).toEqual(
      plain.map(() => 'application/vnd.docker.image.rootfs.diff.tar.gzip'),
    );
    for (const [at, { digest }] of layers.entries()) {
      expect(gunzipSync(await blobOf(digest)).equals(plain[at] as Buffer)).toBe(true);
      expect(await labelsOf(digest)).toMatchObject({ 'containerd.io/uncompressed': digestOf(plain[at] as Buffer) });
    }
    expect(await filesOf(image.config.digest)).toEqual(expect.arrayContaining(['own', 'bin']));
  });

  it('follows the links of the old format, where layers are shared', async () => {
    const image = freshImage();
    const [base, own] = image.layers.map(({ data }) => gunzipSync(data)) as [Buffer, Buffer];
    const manifest = [{ Config: 'c.json', RepoTags: ['linked:1'], Layers: ['aa/layer.tar', 'bb/layer.tar'] }];
    const archive = tarArchive([
      { name: 'store/layer.tar', data: base },
      { name: 'aa/VERSION', data: '1.0' },
      { name: 'aa/layer.tar', type: '2', linkName: '../store/layer.tar' },
      { name: 'bb/layer.tar', data: own },
      { name: 'c.json', data: image.config.data },
      { name: 'manifest.json', data: JSON.stringify(manifest) },
      { name: 'repositories', data: '{}' },
    ]);
    await importArchive(suite.clients, archive, '');
    expect(await imageNames()).toContain('docker.io/library/linked:1');
    expect(await filesOf(image.config.digest)).toEqual(expect.arrayContaining(['own', 'bin']));
  });
});

describe('a bad archive', () => {
  const layout: TarMember = { name: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' };
  const index = (manifests: unknown): TarMember => ({ name: 'index.json', data: JSON.stringify({ manifests }) });
  const missing = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: digestOf(Buffer.from('?')),
    size: 1,
  };
  const cases: readonly (readonly [string, Buffer, string, RegExp])[] = [
    ['that is no tar', Buffer.alloc(5000, 'not a tar '), 'invalid_argument', /tar/],
    ['that is empty', tarArchive([]), 'invalid_argument', /neither an OCI image layout nor a docker save/],
    ['that is truncated', tarArchive([layout]).subarray(0, 530), 'invalid_argument', /truncated/],
    ['without an index', tarArchive([layout]), 'invalid_argument', /index\.json/],
    [
      'of another version',
      tarArchive([{ ...layout, data: '{"imageLayoutVersion":"9"}' }]),
      'invalid_argument',
      /version/,
    ],
    ['without a blob it names', tarArchive([layout, index([missing])]), 'invalid_argument', /lacks sha256:/],
    ['whose index is no JSON', tarArchive([layout, { name: 'index.json', data: '{' }]), 'invalid_argument', /JSON/],
    [
      'with a damaged blob',
      tarArchive([{ name: `blobs/sha256/${'0'.repeat(64)}`, data: 'x' }]),
      'data_loss',
      /damaged/,
    ],
    ['that climbs out', tarArchive([{ name: '../../x', data: 'x' }]), 'invalid_argument', /leads out/],
    [
      'of docker’s without its config',
      tarArchive([{ name: 'manifest.json', data: '[{"Config":"c","Layers":[]}]' }]),
      'invalid_argument',
      /lacks "c"/,
    ],
    [
      'with a manifest.json of another shape',
      tarArchive([{ name: 'manifest.json', data: '{"a":1}' }]),
      'invalid_argument',
      /not a list/,
    ],
  ];
  it.each(cases)('%s is refused and leaves nothing', async (_what, archive, code, message) => {
    const before = await imageNames();
    const error = await failure(importArchive(suite.clients, archive, 'example.com/bad:1'));
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(message);
    expect(await imageNames()).toEqual(before);
    expect((await suite.clients.leases.list({})).leases).toEqual([]);
    expect((await suite.clients.content.listStatuses({})).statuses).toEqual([]);
  });
});

it('leaves nothing when the client goes away in the middle of an archive', async () => {
  const controller = new AbortController();
  // The layer it breaks off in must be one that the store can't have yet.
  const own = randomBytes(1 << 20);
  const archive = ociArchive(busyboxImage({ files: [{ name: 'own/bytes', data: own }] }), 'example.com/broken-off:1');
  const wishes = { signal: controller.signal, stallAt: archive.length - own.length / 2 };
  const importing = failure(importArchive(suite.clients, archive, '', wishes));
  const statuses = async () => (await suite.clients.content.listStatuses({})).statuses;
  await waitFor('a part of the archive', async () => (await statuses()).length > 0);
  controller.abort();
  expect(await importing).toMatchObject({ code: 'canceled' });
  await waitFor('its lease to go', async () => (await suite.clients.leases.list({})).leases.length === 0);
  await waitFor('its part to go', async () => (await statuses()).length === 0);
  expect(await imageNames()).not.toContain('example.com/broken-off:1');
});

it('imports what ctr of another version brings by itself', async () => {
  const image = freshImage();
  const archive = join(suite.dir, 'for-ctr.tar');
  writeFileSync(archive, ociArchive(image, 'example.com/by-ctr:1'));
  ctr('images', 'import', archive);
  expect(await targetOf('example.com/by-ctr:1')).toBe(image.manifest.digest);
  expect(await filesOf(image.config.digest)).toContain('own');
});

function ctr(...args: string[]): void {
  const daemon = ['--address', suite.berthd.socket, '--namespace', suite.namespace];
  execFileSync('ctr', [...daemon, ...args], { stdio: 'pipe' });
}

/** An image layout whose one image has these annotations. */
function layoutOf(image: TestImage, annotations: Readonly<Record<string, string>>): Buffer {
  const { mediaType, digest, size } = image.manifest;
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size, annotations }] };
  return tarArchive([
    { name: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' },
    { name: 'index.json', data: JSON.stringify(index) },
    ...[image.manifest, image.config, ...image.layers].map((blob) => ({
      name: `blobs/sha256/${blob.digest.slice('sha256:'.length)}`,
      data: blob.data,
    })),
  ]);
}
