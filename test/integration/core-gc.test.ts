import { randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isCode } from '#common/errors.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, digestOf, ociArchive, type TestImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { importArchive } from '../support/transfers.ts';

/** Every change calls for a collection, and collections may take half of the time. */
const eager = `[gc]
pause_threshold = 0.5
deletion_threshold = 1
mutation_threshold = 1
startup_delay = "0s"
`;

const suite = useBerthd({
  config(dir) {
    const path = join(dir, 'berthd.toml');
    writeFileSync(path, eager);
    return path;
  },
});

async function sizeOf(digest: string): Promise<number> {
  let size = 0;
  for await (const { data } of suite.clients.content.read({ digest })) size += data.length;
  return size;
}

describe('garbage collection that never rests', () => {
  const slow = randomBytes(5000);
  const images: { readonly name: string; readonly image: TestImage; readonly snapshotter: string }[] = [];

  it('never takes what a call under way makes or needs', async () => {
    const { clients } = suite;
    let busy = true;
    const collecting = (async () => {
      for (let round = 0; busy; round++) {
        await clients.leases.create({ id: `churn-${round}` });
        await clients.leases.delete({ id: `churn-${round}`, sync: true });
      }
    })();
    await using _ = {
      [Symbol.asyncDispose]() {
        busy = false;
        return collecting;
      },
    };

    // A write without a lease that takes as long as all the rest.
    const call = clients.content.write({});
    const write = { action: 'WRITE', ref: 'slow', total: slow.length } as const;
    await call.send({ ...write, offset: 0, data: slow.subarray(0, 2000) });

    const make = (own: string) => busyboxImage({ files: [{ name: 'own', data: own }] });
    images.push({ name: 'client', image: make('client'), snapshotter: 'overlayfs' });
    await importImage(clients, make('client'), 'client');
    const streamed = ['overlayfs', 'native'].flatMap((snapshotter) =>
      ['one', 'two'].map((own) => ({ name: `${own}-${snapshotter}`, image: make(own), snapshotter })),
    );
    images.push(...streamed);
    await Promise.all(
      streamed.map(({ name, image, snapshotter }) =>
        importArchive(clients, ociArchive(image, name), name, {
          store: { unpacks: [{ platform: null, snapshotter }] },
        }),
      ),
    );
    const last = { action: 'COMMIT', ref: 'slow', total: slow.length, expected: digestOf(slow) } as const;
    const labels = { 'containerd.io/gc.root': 'x' };
    await call.send({ ...last, offset: 2000, data: slow.subarray(2000), labels });
    call.end();
    for await (const { action, offset } of call) if (action === 'COMMIT') expect(Number(offset)).toBe(slow.length);

    expect(await sizeOf(digestOf(slow))).toBe(slow.length);
    for (const { image, snapshotter } of images) {
      for (const { digest, size } of [image.manifest, image.config, ...image.layers]) {
        expect(await sizeOf(digest)).toBe(size);
      }
      const { info } = await clients.content.info({ digest: image.config.digest });
      const key = info?.labels[`containerd.io/gc.ref.snapshot.${snapshotter}`];
      expect((await clients.snapshots.stat({ snapshotter, key })).info?.kind).toBe('COMMITTED');
    }
  });

  it('leaves nothing of what is deleted', async () => {
    const { clients, dir } = suite;
    for (const { name } of images) await clients.images.delete({ name });
    await clients.content.update({ info: { digest: digestOf(slow), labels: {} } });
    // The client that unpacked by itself has called its layers roots.
    const snapshotter = 'overlayfs';
    const lists = await Array.fromAsync(clients.snapshots.list({ snapshotter }));
    const names = lists.flatMap(({ info }) => info.map(({ name }) => name));
    for (const name of names) {
      await clients.snapshots.update({ snapshotter, info: { name, labels: {} } }).catch((error: unknown) => {
        // The collection that an image's end asked for may be there before.
        if (!isCode(error, 'not_found')) throw error;
      });
    }
    await clients.leases.create({ id: 'last' });
    await clients.leases.delete({ id: 'last', sync: true });
    expect(await Array.fromAsync(clients.content.list({}))).toEqual([]);
    for (const path of ['content/blobs/sha256', 'content/ingest', 'snapshots/overlayfs', 'snapshots/native']) {
      expect(readdirSync(join(dir, 'root', path))).toEqual([]);
    }
  });
});
