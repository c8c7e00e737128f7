import { globSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive, endContainer, runContainer } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd({
  config: (dir) => {
    const path = join(dir, 'berthd.toml');
    writeFileSync(path, '[metadata]\nbackup_interval = "100ms"\n');
    return path;
  },
});
const patient = { waitForReady: true, timeoutMs: 30_000 };
const image = 'docker.io/library/busybox:latest';

const run = (id: string, chain: string): Promise<number> =>
  runContainer(suite, { id, chain, args: ['sleep', '1000'], labels: { first: '1' } });
const end = (id: string): Promise<void> => endContainer(suite, id);

/** What a client sees of the daemon. */
async function seen() {
  const { containers, images, snapshots, content } = suite.clients;
  const [listed, named] = [await containers.list({}, patient), await images.list({})];
  const layers = (await Array.fromAsync(snapshots.list({ snapshotter: 'overlayfs' }))).flatMap(({ info }) => info);
  const blobs = (await Array.fromAsync(content.list({}))).flatMap(({ info }) => info);
  return {
    containers: listed.containers.map(({ updatedAt, ...rest }) => rest),
    images: named.images.map(({ name, target, labels }) => ({ name, target, labels })),
    snapshots: layers.map(({ name, parent, kind, labels }) => ({ name, parent, kind, labels })),
    blobs: blobs.map(({ digest, size, labels }) => ({ digest, size, labels })),
  };
}

describe('a daemon that lost its database', () => {
  it('knows everything again from what is on disk, and containers that run go on', async () => {
    const chain = await importImage(suite.clients, busyboxImage(), image);
    const pid = await run('runs', chain);
    const labels = { first: '1', second: '2' };
    const update = { container: { id: 'runs', labels }, updateMask: { paths: ['labels'] } };
    await suite.clients.containers.update(update);
    const before = await seen();
    await suite.berthd.daemon.stop();
    for (const name of ['meta.db', 'meta.db-wal', 'meta.db-shm', 'backups']) {
      rmSync(join(suite.berthd.root, name), { recursive: true, force: true });
    }
    await suite.berthd.daemon.start();

    expect(await seen()).toEqual(before);
    expect(alive(pid)).toBe(true);
    const { process } = await suite.clients.tasks.get({ containerId: 'runs' });
    expect(process).toMatchObject({ pid, status: 'RUNNING' });
    const another = await run('another', chain);
    expect(alive(another)).toBe(true);
    for (const id of ['runs', 'another']) await end(id);
    await suite.clients.images.delete({ name: image, sync: true });
    // An operator decides when what was recovered may go.
    expect((await seen()).blobs).toEqual(before.blobs);
    for (const { id } of (await suite.clients.leases.list({})).leases) {
      expect(id).toMatch(/^recovered-/);
      await suite.clients.leases.delete({ id, sync: true });
    }
    await suite.clients.snapshots.remove({ snapshotter: 'overlayfs', key: chain });
    expect(await seen()).toEqual({ containers: [], images: [], snapshots: [], blobs: [] });
  });

  it('or has it damaged restores the newest backup, and puts the damaged one aside', async () => {
    const chain = await importImage(suite.clients, busyboxImage(), image);
    const pid = await run('runs', chain);
    await suite.clients.namespaces.create({ namespace: { name: 'in-the-backup-only', labels: { a: 'b' } } });
    await waitFor('a backup that has it', () => {
      const newest = globSync('backups/*.db', { cwd: suite.berthd.root }).sort().at(-1);
      if (newest === undefined) return false;
      using copy = new DatabaseSync(join(suite.berthd.root, newest), { readOnly: true });
      return copy.prepare("SELECT 1 FROM namespaces WHERE name = 'in-the-backup-only'").get() !== undefined;
    });
    const before = await seen();
    await suite.berthd.daemon.kill9();
    writeFileSync(join(suite.berthd.root, 'meta.db'), Buffer.alloc(20_000, 'x'));
    rmSync(join(suite.berthd.root, 'meta.db-wal'));
    await suite.berthd.daemon.start();

    expect(await seen()).toEqual(before);
    expect(alive(pid)).toBe(true);
    const { namespace } = await suite.clients.namespaces.get({ name: 'in-the-backup-only' });
    expect(namespace?.labels).toHaveProperty('a');
    expect(readdirSync(join(suite.berthd.root, 'damaged'))).toHaveLength(1);
    await end('runs');
  });
});
