/*
 * Pulls, as far as the stores are concerned: writes blobs, applies layers to snapshots, makes images, deletes some of them
 * and collects, below the directory of the first argument. Notes in the recording what it was told is safe.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { silentLogger } from '#common/log.ts';
import { LayerApplier } from '../../../apps/core/diff/apply.ts';
import { BackupFiles } from '../../../apps/core/metadata/backup-files.ts';
import { Backups } from '../../../apps/core/metadata/backups.ts';
import { openMetadata } from '../../../apps/core/metadata/open-metadata.ts';
import { openStores } from '../../../apps/core/stores.ts';
import { digestOf } from '../busybox-image.ts';
import { Random } from '../random.ts';
import { tarArchive } from '../tar-archive.ts';

const [, , dir = '', preloaded = ''] = process.argv;
const log = process.env.POWER_CUT_LOG ?? '';
const rounds = 6;
const ns = 'n';
// Processes that apply layers get an environment of their own: this starts them with the recorder.
process.execPath = preloaded;

const note = (what: string): void => appendFileSync(log, `P ${what}\n`);
const random = new Random(1);
const { db, recovered } = openMetadata(dir, 'quick', silentLogger());
await db.durable();
recovered();
const events = { publish: () => {}, publishTyped: () => {}, forward: () => {} };
const { content, snapshotters, images, collector } = openStores(dir, db, events, silentLogger());
const snapshotter = snapshotters.named('overlayfs');
const backup = { keep: 2, intervalMs: 1e8, changes: 1e8, log: silentLogger() };
await using backups = new Backups({ db, files: new BackupFiles(join(dir, 'backups')), ...backup });
using applier = new LayerApplier();

async function writeBlob(data: Buffer, labels: Record<string, string>): Promise<string> {
  await using writer = await content.writer(ns, { ref: digestOf(data), expected: digestOf(data), total: data.length });
  for (let at = 0; at < data.length; at += 10_000) await writer.write(data.subarray(at, at + 10_000));
  return await writer.commit({ labels });
}

for (let round = 0; round < rounds; round++) {
  const files = Array.from({ length: 3 }, (_, index) => ({ name: `d/f${index}`, data: random.bytes(9000) }));
  const tar = tarArchive([{ name: 'd/', type: '5', mode: 0o755 }, ...files]);
  const layer = await writeBlob(gzipSync(tar), {});
  const chain = digestOf(tar);
  note(`expect ${chain} ${JSON.stringify(Object.fromEntries(files.map(({ name, data }) => [name, digestOf(data)])))}`);
  const mounts = await snapshotter.prepare(ns, `extract-${round}`, '');
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip';
  await applier.apply({ blobPath: content.pathOf(layer), mediaType, mounts });
  await snapshotter.commit(ns, chain, `extract-${round}`, { labels: {} });
  const references = { 'containerd.io/gc.ref.content.0': layer, 'containerd.io/gc.ref.snapshot.overlayfs': chain };
  const target = await writeBlob(Buffer.from(`manifest ${round}`), references);
  const name = `image-${round}`;
  images.create(ns, { name, target: { digest: target, size: 10, mediaType: 'm' }, labels: {} });
  await db.durable();
  for (const what of [`blob ${layer}`, `blob ${target}`, `snapshot ${chain}`, `image ${name}`]) note(what);
  if (round === 2) await backups.make();
  if (round % 3 === 1) {
    for (const what of [`blob ${layer}`, `blob ${target}`, `snapshot ${chain}`, `image ${name}`])
      note(`forget ${what}`);
    images.delete(ns, name);
    await collector.collect();
  }
}
process.exit(0);
