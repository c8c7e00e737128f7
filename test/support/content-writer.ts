import { randomBytes } from 'node:crypto';
import { testStores } from './core-stores.ts';

/*
 * Commits blobs and snapshots of every kind below the directory of its first argument until it is killed, and prints the
 * digest of every blob and the name of every snapshot once it is told that they are there; with a minus before it is removed.
 */
const stores = testStores(process.argv[2] ?? '');
const ns = 'n';
for (let round = 0; ; round++) {
  await using writer = await stores.content.writer(ns, { ref: 'torn' });
  await writer.truncate(0);
  await writer.write(randomBytes(50_000));
  const digest = await writer.commit({ labels: { 'containerd.io/gc.root': 'x' } });
  process.stdout.write(`${digest}\n`);
  const name = `s-${process.pid}-${round}`;
  for (const snapshotter of stores.snapshotters.all) {
    await snapshotter.prepare(ns, `key-${name}`, round === 0 ? '' : `s-${process.pid}-0`);
    await snapshotter.commit(ns, name, `key-${name}`, { labels: { 'containerd.io/gc.root': 'x' } });
    process.stdout.write(`${snapshotter.name}/${name}\n`);
    if (round % 3 === 2) {
      process.stdout.write(`-${snapshotter.name}/${name}\n`);
      await snapshotter.remove(ns, name);
    }
  }
}
