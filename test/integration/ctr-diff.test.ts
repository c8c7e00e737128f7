import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';

const name = 'docker.io/library/tool:1';
const snapshotter = 'overlayfs';
const suite = useBerthd();
let ctr: Ctr;

beforeAll(async () => {
  ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
  const archive = join(suite.dir, 'image.tar');
  writeFileSync(archive, ociArchive(busyboxImage(), name));
  await ctr.run('images', 'import', archive);
});

/** The members of a layer in the content store. */
async function members(digest: string): Promise<string[]> {
  const file = join(suite.dir, 'layer');
  const pieces: Buffer[] = [];
  for await (const { data } of suite.clients.content.read({ digest })) pieces.push(data);
  writeFileSync(file, Buffer.concat(pieces));
  return execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n');
}

test('what a container wrote becomes a layer, and a snapshot that further containers build on', async () => {
  const script = 'echo new > /made; rm /bin/busybox';
  const run = ['--snapshotter', snapshotter, name, 'writer', 'sh', '-c', script];
  expect(await ctr.runContainer(...run)).toMatchObject({ code: 0 });
  await ctr.run('snapshots', 'diff', '--keep', '--label', 'kept=yes', '--ref', 'made', 'writer');
  const kept = await Array.fromAsync(suite.clients.content.list({ filters: ['labels.kept==yes'] }));
  const [layer] = kept.flatMap(({ info }) => info);
  expect(layer?.labels).toMatchObject({ 'containerd.io/uncompressed': expect.stringContaining('sha256:') });
  // The runtime makes the place for its mount of /run.
  expect(await members(layer?.digest ?? '')).toEqual(['bin/', 'bin/.wh.busybox', 'made', 'run/']);

  await ctr.run('snapshots', 'commit', 'written', 'writer');
  await ctr.run('snapshots', 'prepare', 'reader', 'written');
  const [, lower = ''] = /lowerdir=([^:]+)/.exec(await ctr.run('snapshots', 'mounts', '/x', 'reader')) ?? [];
  expect(readFileSync(join(lower, 'made'), 'utf8')).toBe('new\n');
});

test('two snapshots are compared, and the layer is printed', async () => {
  const { snapshots } = suite.clients;
  const [committed] = await Array.fromAsync(snapshots.list({ snapshotter, filters: ['kind==committed'] }));
  for (const key of ['one', 'two']) {
    const labels = { 'containerd.io/gc.root': 'x' };
    const { mounts } = await snapshots.prepare({ snapshotter, key, parent: committed?.info[0]?.name ?? '', labels });
    const upper = mounts[0]?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
    mkdirSync(join(upper as string, key));
  }
  const plain = ['--media-type', 'application/vnd.oci.image.layer.v1.tar'];
  const printed = await ctr.run('snapshots', 'diff', ...plain, 'one', 'two');
  expect(printed).toContain('.wh.one');
  expect(printed).toContain('two/');
});
