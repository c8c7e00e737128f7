import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { CHUNK } from '../../apps/core/transfer/ranged-blob.ts';
import { chainIdsOf } from '../../apps/core/unpack/image-unpacker.ts';
import { startBerthd } from './berthd.ts';
import { busyboxImage, digestOf } from './busybox-image.ts';
import { checkConsistent, checkNothingLeft, type Place } from './core-consistency.ts';
import { FakeRegistry } from './fake-registry.ts';
import { PacedBlobs } from './paced-blobs.ts';
import { Random } from './random.ts';
import { pull } from './transfers.ts';

export interface PullKillOptions {
  /** Scratch folder, empty. */
  readonly dir: string;
  readonly seed: number;
  /** How often the daemon is killed. */
  readonly points: number;
  /** Bytes of the image's large layer. */
  readonly layerSize: number;
  readonly tell?: (line: string) => void;
}

/** What a run did, for people to judge how much it says. */
export interface PullKillFigures {
  readonly points: number;
  /** Kills that hit the pull before its end. */
  readonly cut: number;
  /** The most bytes of one layer that were sent twice. */
  readonly mostTwice: number;
}

/**
 * Kills berthd with SIGKILL at random points of a pull and pulls again: the second pull goes on with what has come, with
 * less than a chunk of each layer sent twice, and the image is whole; once it is deleted, nothing is left.
 */
export async function killPulls(options: PullKillOptions): Promise<PullKillFigures> {
  const { dir, seed, points, layerSize, tell = () => {} } = options;
  const random = new Random(seed);
  const namespace = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await FakeRegistry.start());
  const berthd = await startBerthd({ dir, logLevel: 'info' });
  stack.use(berthd.daemon);
  const clients = stack.use(berthd.clients(namespace));
  await clients.namespaces.create({ namespace: { name: namespace } });
  const place: Place = { dir, namespace, berthd, clients };

  const file = { name: 'own', data: random.bytes(layerSize) };
  const image = busyboxImage({ files: [file] });
  const reference = registry.add(image);
  const blobs = new PacedBlobs(
    image.layers.map(({ digest, size, data }) => ({ digest, size, read: (start, end) => data.subarray(start, end) })),
  );
  registry.intercept = blobs.intercept;
  const total = image.layers.reduce((sum, { size }) => sum + size, 0);
  const files = new Map([[file.name, digestOf(file.data)]]);
  const chain = chainIdsOf(JSON.parse(image.config.data.toString()).rootfs.diff_ids);
  let cut = 0;
  let mostTwice = 0;
  for (let point = 1; point <= points; point++) {
    blobs.reset();
    const after = random.int(total);
    const late = random.chance(0.2) ? random.int(300) : 0;
    const reached = new Promise<void>((resolve) => {
      blobs.onPiece = (sent) => sent >= after && resolve();
    });
    const first = pull(clients, reference).then(
      () => 'done' as const,
      () => 'cut' as const,
    );
    await Promise.race([reached, first]);
    if (late > 0) await Promise.race([sleep(late), first]);
    await berthd.daemon.kill9();
    if ((await first) === 'cut') cut++;
    await berthd.daemon.start();
    await clients.version.version({}, { waitForReady: true, timeoutMs: 60_000 });
    try {
      await pull(clients, reference);
      for (const { digest, size } of image.layers) {
        const twice = (blobs.sent.get(digest) ?? 0) - size;
        mostTwice = Math.max(mostTwice, twice);
        assert(twice < CHUNK, `${twice} bytes of ${digest} were sent twice`);
      }
      const expected = { known: 'present', image, files, chain } as const;
      await checkConsistent(place, { images: new Map([[reference, expected]]), containers: new Map() });
      await clients.images.delete({ name: reference });
      // What the killed pull had is kept for some time by the lease that it had.
      for (const { id } of (await clients.leases.list({})).leases) await clients.leases.delete({ id });
      await clients.leases.create({ id: 'last' });
      await clients.leases.delete({ id: 'last', sync: true });
      await checkNothingLeft(place);
    } catch (error) {
      const where = `after kill ${point} of ${points}, at ${after} bytes and ${late} ms, seed ${seed}`;
      throw new Error(`${where}\n${berthd.daemon.logTail()}`, { cause: error });
    }
    if (point % 10 === 0) tell(`${point} of ${points} kills, ${cut} amid a pull, at most ${mostTwice} bytes twice`);
  }
  return { points, cut, mostTwice };
}
