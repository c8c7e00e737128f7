import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';
import { waitFor } from '../support/wait-for.ts';

const name = 'docker.io/library/tool:1';
const snapshotter = 'overlayfs';
const labels = { 'containerd.io/gc.root': 'now' };
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
  const parent = committed?.info[0]?.name ?? '';
  for (const key of ['one', 'two']) {
    const { mounts } = await snapshots.prepare({ snapshotter, key, parent, labels });
    const upper = mounts[0]?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
    mkdirSync(join(upper as string, key));
  }
  const plain = ['--media-type', 'application/vnd.oci.image.layer.v1.tar'];
  const printed = await ctr.run('snapshots', 'diff', ...plain, 'one', 'two');
  expect(printed).toContain('.wh.one');
  expect(printed).toContain('two/');
});

test('a call that is cancelled leaves no write behind', async () => {
  const { content, diff, snapshots } = suite.clients;
  const { mounts } = await snapshots.prepare({ snapshotter, key: 'endless', parent: '', labels });
  const file = join(mounts[0]?.source ?? '', 'endless');
  writeFileSync(file, '');
  truncateSync(file, 2 ** 42);
  const controller = new AbortController();
  const made = diff.diff({ right: mounts, ref: 'endless' }, { signal: controller.signal });
  made.catch(() => undefined);
  const statuses = async () =>
    (await content.listStatuses({})).statuses.map(({ ref, offset }) => [ref, Number(offset)]);
  await waitFor('the write', async () => (await statuses()).some(([ref, offset]) => ref === 'endless' && offset !== 0));
  controller.abort();
  await expect(made).rejects.toMatchObject({ code: 'canceled' });
  await waitFor('its end', async () => (await statuses()).length === 0);
  await snapshots.remove({ snapshotter, key: 'endless' });
});
