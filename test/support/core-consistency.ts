import assert from 'node:assert/strict';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { BerthdSuite } from './berthd-suite.ts';
import { digestOf } from './busybox-image.ts';
import type { Expected, ExpectedImage } from './core-load.ts';
import { shimProcesses } from './shim-processes.ts';
import { waitFor } from './wait-for.ts';

/** A daemon with everything that belongs to it. */
export type Place = BerthdSuite;

/** Fails when something that was acknowledged is missing, something that is there isn't whole, or a shim is too many. */
export async function checkConsistent(place: Place, expected: Expected): Promise<void> {
  const { clients } = place;
  await clients.version.version({}, { waitForReady: true, timeoutMs: 30_000 });
  const blobs = await checkBlobs(place);
  const images = new Set((await clients.images.list({})).images.map(({ name }) => name));
  for (const [name, image] of expected.images) {
    if (image.known === 'present') assert(images.has(name), `image ${name} was pulled and is gone`);
    if (image.known === 'absent') assert(!images.has(name), `image ${name} was deleted and is back`);
    if (images.has(name)) await checkImage(place, name, image, blobs);
  }
  await checkContainers(place, expected);
}

/** Fails when the daemon has kept anything although everything was deleted. */
export async function checkNothingLeft({ berthd, clients }: Place): Promise<void> {
  const snapshots = await Array.fromAsync(clients.snapshots.list({ snapshotter: 'overlayfs' }));
  assert.deepEqual(
    snapshots.flatMap(({ info }) => info),
    [],
    'snapshots',
  );
  const blobs = await Array.fromAsync(clients.content.list({}));
  assert.deepEqual(
    blobs.flatMap(({ info }) => info),
    [],
    'content',
  );
  assert.deepEqual((await clients.content.listStatuses({})).statuses, [], 'writes');
  assert.deepEqual((await clients.containers.list({})).containers, [], 'containers');
  assert.deepEqual((await clients.tasks.list({})).tasks, [], 'tasks');
  assert.deepEqual(readdirSync(join(berthd.root, 'content/blobs/sha256')), [], 'files of blobs');
  assert.deepEqual(readdirSync(join(berthd.root, 'content/ingest')), [], 'files of writes');
  await waitFor('removed snapshots to be deleted', () => globSync('snapshots/*/*', { cwd: berthd.root }).length === 0);
}

/** Every blob that is listed is whole. Answers their digests. */
async function checkBlobs({ berthd, clients }: Place): Promise<Set<string>> {
  const digests = new Set<string>();
  for await (const { info } of clients.content.list({})) {
    for (const { digest, size } of info) {
      const path = join(berthd.root, 'content/blobs', digest.replace(':', '/'));
      assert(existsSync(path), `content ${digest} has no file`);
      const data = readFileSync(path);
      assert.equal(String(data.length), String(size), `size of ${digest}`);
      assert.equal(digestOf(data), digest);
      digests.add(digest);
    }
  }
  return digests;
}

/** An image that has a record has all its content, and all its layers as snapshots with everything in them. */
async function checkImage(
  place: Place,
  name: string,
  { image, files, chain }: ExpectedImage,
  blobs: Set<string>,
): Promise<void> {
  const { clients } = place;
  for (const { digest } of [image.manifest, image.config, ...image.layers]) {
    assert(blobs.has(digest), `image ${name} lacks ${digest}`);
  }
  for (const key of chain) {
    const { info } = await clients.snapshots.stat({ snapshotter: 'overlayfs', key });
    assert.equal(info?.kind, 'COMMITTED', `${name}: ${key}`);
  }
  const key = `check-${name}`;
  const labels = { 'containerd.io/gc.root': 'now' };
  const view = { snapshotter: 'overlayfs', key, parent: chain.at(-1) as string, labels };
  const { mounts } = await clients.snapshots.view(view);
  try {
    const layers = layerDirectories(mounts[0]);
    for (const [path, digest] of files) {
      const layer = layers.find((directory) => existsSync(join(directory, path)));
      assert(layer !== undefined, `${name}: ${path} is in no layer`);
      assert.equal(digestOf(readFileSync(join(layer, path))), digest, `${name}: ${path}`);
    }
  } finally {
    await clients.snapshots.remove({ snapshotter: 'overlayfs', key });
  }
}

function layerDirectories(mount: { source: string; options: string[] } | undefined): string[] {
  const lower = mount?.options.find((option) => option.startsWith('lowerdir='));
  return lower?.slice('lowerdir='.length).split(':') ?? [mount?.source ?? ''];
}

async function checkContainers({ berthd, clients, namespace }: Place, { containers }: Expected): Promise<void> {
  const known = new Set((await clients.containers.list({})).containers.map(({ id }) => id));
  const { tasks } = await clients.tasks.list({});
  for (const [id, state] of containers) {
    if (state !== 'present') continue;
    assert(known.has(id), `container ${id} was created and is gone`);
    assert.equal(tasks.find((task) => task.id === id)?.status, 'RUNNING', `task ${id}`);
  }
  for (const id of known) assert(containers.has(id), `container ${id} was deleted and is back`);
  // What a cut-off create or delete left is torn down in the background. The shim of a stopped task may be gone: a delete
  // was cut short.
  await waitFor(
    'shims and bundles to be those of the tasks',
    async () => {
      const present = (await clients.tasks.list({})).tasks;
      const ids = present.map(({ id }) => id).sort();
      const alive = present.filter(({ status }) => status !== 'STOPPED').map(({ id }) => id);
      const shims = shimProcesses(namespace).map(({ id }) => id);
      const bundles = globSync(`io.containerd.runtime.v2.task/${namespace}/*`, { cwd: berthd.state })
        .map((path) => basename(path))
        .sort();
      const owned = shims.every((id) => ids.includes(id)) && new Set(shims).size === shims.length;
      return owned && alive.every((id) => shims.includes(id)) && String(bundles) === String(ids);
    },
    20_000,
  );
}
