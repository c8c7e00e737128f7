import { chmodSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BerthCommand } from '../support/berth-command.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Registry } from '../support/registry.ts';
import { waitFor } from '../support/wait-for.ts';

const files = [
  { name: 'etc/motd', data: 'hello\n' },
  { name: 'etc/other', data: 'other\n' },
];
const image = busyboxImage({ files });
const blobs = [image.manifest, image.config, ...image.layers];
const bytes = blobs.reduce((sum, { size }) => sum + size, 0);
const sound = { blobs: blobs.length, bytes, snapshots: image.layers.length, faulty: [] };

const suite = useBerthd();
const { run: berth, text, json } = new BerthCommand(suite);
let registry: Registry;
let name: string;

beforeAll(async () => {
  registry = await Registry.start(suite.dir);
  name = await registry.push(image, 'team/app', 'v1');
  await text('images', 'pull', name);
});
afterAll(() => registry?.[Symbol.asyncDispose]());

const blobFile = (digest: string) => join(suite.berthd.root, 'content/blobs', digest.replace(':', '/'));

/** Changes a byte. */
function damage(path: string): void {
  const data = readFileSync(path);
  data.writeUInt8(data.readUInt8(2) ^ 1, 2);
  chmodSync(path, 0o644);
  writeFileSync(path, data);
}

/** The file of a layer, in the snapshot that it was unpacked to. */
function unpacked(path: string): string {
  const [found = ''] = globSync(`snapshots/overlayfs/*/fs/${path}`, { cwd: suite.berthd.root });
  return join(suite.berthd.root, found);
}

async function snapshotCount(): Promise<number> {
  return ((await json('snapshots', 'list')) as unknown[]).length;
}

test('what is sound is found sound, and nothing is left of the looking', async () => {
  expect(await json('images', 'verify')).toEqual(sound);
  expect(await json('images', 'verify', name)).toEqual(sound);
  expect(await text('images', 'verify')).toMatch(/^verified \d+ blobs, .* MiB, and \d+ snapshots\n$/);
  expect(await snapshotCount()).toBe(image.layers.length);
  expect(await json('leases', 'list')).toEqual([]);
});

describe('a damaged blob', () => {
  test.each([
    ['layer', () => image.layers[0]?.digest ?? ''],
    ['manifest', () => image.manifest.digest],
  ])('is named, and fetched again from where it came: a %s', async (_, digestOf) => {
    const digest = digestOf();
    const before = readFileSync(blobFile(digest));
    damage(blobFile(digest));
    const { code, stdout, stderr } = await berth(['--json', 'images', 'verify', name]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('--repair') });
    expect(JSON.parse(stdout)).toMatchObject({
      faulty: [{ kind: 'blob', id: digest, fault: 'damaged', images: [name] }],
    });
    expect(await json('images', 'verify', '--repair', name)).toMatchObject({
      faulty: [{ id: digest, repaired: true }],
    });
    expect(readFileSync(blobFile(digest))).toEqual(before);
    expect(await json('images', 'verify')).toEqual(sound);
  });

  test('whose file or record is missing comes back too', async () => {
    rmSync(blobFile(image.config.digest));
    await text('content', 'remove', image.layers[1]?.digest ?? '');
    const { faulty } = (await json('images', 'verify', '--repair', name)) as { faulty: { fault: string }[] };
    expect(faulty.map(({ fault }) => fault)).toEqual(['missing', 'missing']);
    expect(await json('images', 'verify')).toEqual(sound);
  });

  test('that no registry has is said to be beyond repair', async () => {
    const other = busyboxImage({ files: [{ name: 'own', data: 'imported' }] });
    writeFileSync(join(suite.dir, 'image.tar'), ociArchive(other, 'nowhere.invalid/app:1'));
    await text('images', 'import', join(suite.dir, 'image.tar'));
    damage(blobFile(other.config.digest));
    const { code, stdout } = await berth(['--json', 'images', 'verify', '--repair', 'nowhere.invalid/app:1']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      faulty: [{ id: other.config.digest, repaired: false, hindrance: expect.stringMatching(/nowhere\.invalid/) }],
    });
    await text('images', 'remove', '--sync', 'nowhere.invalid/app:1');
  });
});

describe('a damaged snapshot', () => {
  test.each([
    ['data', (path: string) => damage(path), /etc\/motd has other data|etc\/motd has another/],
    ['a missing file', (path: string) => rmSync(path), /etc\/motd is missing/],
    ['a file too many', (path: string) => writeFileSync(`${path}2`, ''), /etc\/motd2 is not in the layer/],
    ['another mode', (path: string) => chmodSync(path, 0o777), /etc\/motd has another mode/],
  ])('is told from its layer and unpacked again: %s', async (_, change, fault) => {
    change(unpacked('etc/motd'));
    const { code, stdout } = await berth(['--json', 'images', 'verify']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      faulty: [{ kind: 'snapshot', fault: expect.stringMatching(fault), images: [name] }],
    });
    expect(await json('images', 'verify', '--repair')).toMatchObject({ faulty: [{ repaired: true }] });
    expect(await json('images', 'verify')).toEqual(sound);
    expect(readFileSync(unpacked('etc/motd'), 'utf8')).toBe('hello\n');
    expect(await snapshotCount()).toBe(image.layers.length);
  });

  test('is repaired without disturbing the container that runs on it', async () => {
    const looking = join(suite.dir, 'looking.log');
    await text('tasks', 'run', '--detach', '--log', looking, name, 'runs', '--', 'sleep', '600');
    rmSync(unpacked('etc/motd'));
    expect(await json('images', 'verify', '--repair')).toMatchObject({ faulty: [{ repaired: true }] });

    // It sees what it saw before: neither the file nor its end comes in the middle.
    expect(await berth(['tasks', 'exec', 'runs', '--', 'cat', '/etc/other'])).toMatchObject({ stdout: 'other\n' });
    expect((await berth(['tasks', 'exec', 'runs', '--', 'cat', '/etc/motd'])).code).not.toBe(0);
    const fresh = await berth(['tasks', 'run', '--rm', name, 'fresh', '--', 'cat', '/etc/motd']);
    expect(fresh).toMatchObject({ code: 0, stdout: 'hello\n' });

    // The old files stay as long as that container does, also through collections.
    await text('gc');
    expect(await berth(['tasks', 'exec', 'runs', '--', 'cat', '/etc/other'])).toMatchObject({ stdout: 'other\n' });
    expect(await snapshotCount()).toBe(image.layers.length + 2);
    await text('tasks', 'remove', '--force', 'runs');
    await text('containers', 'remove', 'runs');
    await waitFor('the old files to be collected', async () => {
      await text('gc');
      return (await snapshotCount()) === image.layers.length;
    });
    expect(await json('images', 'verify')).toEqual(sound);
  });
});
