import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { descriptorOf, type TestImage } from '../support/busybox-image.ts';
import { Registry } from '../support/registry.ts';
import { tarArchive } from '../support/tar-archive.ts';
import { waitFor } from '../support/wait-for.ts';
import { Figures, figuresTable, timed } from './core/figures.ts';
import { BenchGround } from './ground.ts';
import { bigFiles, imageOfBlobs, imageOfLayers, smallFiles } from './images/corpus.ts';
import { peakMemory } from './images/peak-memory.ts';
import { criNamespace, type ImageSide, startBerthSide, startContainerdSide } from './images/side.ts';
import { median } from './statistics.ts';

const ROUNDS = 3;
const LISTED = 1000;

/** What is pulled, by the name of its part of the bench. */
const corpora = {
  'small-gzip': { label: 'many small files, gzip', archives: smallFiles, compression: 'gzip' },
  'big-gzip': { label: 'few big files, gzip', archives: bigFiles, compression: 'gzip' },
  'small-zstd': { label: 'many small files, zstd', archives: smallFiles, compression: 'zstd' },
  'big-zstd': { label: 'few big files, zstd', archives: bigFiles, compression: 'zstd' },
} as const;

export const imagesParts = [...Object.keys(corpora), 'import', 'list'];

/** `npm run bench -- images`: pulls through the CRI, imports and lists, of Berth and of Debian's containerd in turn. */
export async function imagesBench(parts = imagesParts): Promise<string> {
  await using ground = new BenchGround();
  const { dir, cgroup } = ground;
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await Registry.start(dir));
  const sides = [
    stack.use(await startBerthSide(`${dir}/b`, `/${cgroup}`)),
    stack.use(await startContainerdSide(`${dir}/c`, `/${cgroup}`)),
  ];
  const figures = sides.map(() => new Figures());
  for (const [name, { label, archives, compression }] of Object.entries(corpora)) {
    if (!parts.includes(name)) continue;
    const reference = await registry.push(await imageOfLayers(archives(), compression), `bench/${name}`);
    await measureInTurn(`pull ${label}`, sides, figures, (side) =>
      side.cri.image.pullImage({ image: { image: reference } }, { timeoutMs: 300_000 }),
    );
  }
  if (parts.includes('import')) {
    const archive = `${dir}/image.tar`;
    const image = await imageOfLayers(smallFiles(), 'gzip');
    writeFileSync(archive, ociArchiveOf([['docker.io/bench/imported:latest', image]]));
    await measureInTurn('import many small files, gzip', sides, figures, (side) => importArchive(side, archive));
  }
  if (parts.includes('list')) await measureList(dir, sides, figures);
  return figuresTable(
    sides.map(({ name }) => name),
    figures,
  );
}

/** The first round, whose times don't count, is watched for memory; the order turns from round to round. */
async function measureInTurn(
  label: string,
  sides: readonly ImageSide[],
  figures: readonly Figures[],
  bring: (side: ImageSide) => Promise<unknown>,
): Promise<void> {
  const results = sides.map((side, index) => ({ side, figures: figures[index], times: [], cpu: [] }) as Result);
  console.error(`bench images: ${label}, load ${loadavg()[0]?.toFixed(1)}`);
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { side, figures, times, cpu } of round % 2 === 0 ? results : [...results].reverse()) {
      // What earlier rounds left to write back is no part of this one.
      execFileSync('sync');
      const before = side.cpu.usedMs();
      if (round === 0) {
        const { all, core } = await peakMemory(side.cpu, side.criDaemons, () => bring(side));
        figures.add(`${label}: peak memory, MiB`, all);
        figures.add(`${label}: without a CRI daemon`, core);
      } else {
        times.push(await timed(() => bring(side)));
        cpu.push(side.cpu.usedMs() - before);
      }
      await removeImages(side);
    }
  }
  for (const { figures, times, cpu } of results) {
    figures.add(`${label}: ms`, median(times));
    figures.add(`${label}: ms of CPU`, median(cpu));
  }
}

interface Result {
  readonly side: ImageSide;
  readonly figures: Figures;
  readonly times: number[];
  readonly cpu: number[];
}

/** Removes all images, and waits until their snapshots have gone and, for three seconds at most, until the CPU is quiet. */
async function removeImages({ cri, core, cpu }: ImageSide): Promise<void> {
  const { images = [] } = await cri.image.listImages({});
  for (const { id } of images) await cri.image.removeImage({ image: { image: id } }, { timeoutMs: 60_000 });
  const { images: left = [] } = await core.images.list({});
  for (const { name } of left) await core.images.delete({ name, sync: true }, { timeoutMs: 60_000 });
  await waitFor(
    'the snapshots to go',
    async () => {
      for await (const { info = [] } of core.snapshots.list({ snapshotter: 'overlayfs' })) {
        if (info.length > 0) return false;
      }
      return true;
    },
    60_000,
  );
  // A collector that goes on by itself may never be quiet: what is left then counts, as it would on a node.
  for (let quiet = 0, looks = 0; quiet < 3 && looks < 30; looks++) {
    const before = cpu.usedMs();
    await sleep(100);
    quiet = cpu.usedMs() - before < 10 ? quiet + 1 : 0;
  }
}

/** With Debian's ctr, which is no part of the runtime's CPU. */
async function importArchive({ socket }: ImageSide, archive: string, ...options: readonly string[]): Promise<void> {
  const { execa } = await import('execa');
  await execa('ctr', ['--address', socket, '--namespace', criNamespace, 'images', 'import', ...options, archive]);
}

async function measureList(dir: string, sides: readonly ImageSide[], figures: readonly Figures[]): Promise<void> {
  const layer = (await imageOfLayers([tarArchive([{ name: 'file' }])], 'gzip')) as TestImage;
  const diffIds = JSON.parse(layer.config.data.toString()).rootfs.diff_ids;
  const images = Array.from(
    { length: LISTED },
    (_, index) =>
      [`docker.io/bench/listed-${index}:latest`, imageOfBlobs(layer.layers, diffIds, String(index))] as const,
  );
  const archive = `${dir}/listed.tar`;
  writeFileSync(archive, ociArchiveOf(images));
  for (const [index, side] of sides.entries()) {
    console.error(`bench images: list of ${side.name}`);
    await importArchive(side, archive, '--no-unpack');
    const list = async (): Promise<number> => (await side.cri.image.listImages({})).images?.length ?? 0;
    await waitFor(`${side.name} to list them`, async () => (await list()) === LISTED, 60_000);
    const before = side.cpu.usedMs();
    const times: number[] = [];
    for (let round = 0; round < 20; round++) times.push(await timed(list));
    figures[index]?.add(`list ${LISTED} images: ms`, median(times));
    figures[index]?.add(`list ${LISTED} images: ms of CPU`, (side.cpu.usedMs() - before) / times.length);
  }
}

/** An OCI archive with images that may share layers. */
function ociArchiveOf(images: readonly (readonly [string, TestImage])[]): Buffer {
  const blobs = new Map(
    images.flatMap(([, { manifest, config, layers }]) => [manifest, config, ...layers].map((one) => [one.digest, one])),
  );
  const manifests = images.map(([reference, { manifest }]) => ({
    ...descriptorOf(manifest),
    annotations: { 'io.containerd.image.name': reference },
  }));
  return tarArchive([
    { name: 'oci-layout', data: JSON.stringify({ imageLayoutVersion: '1.0.0' }) },
    { name: 'index.json', data: JSON.stringify({ schemaVersion: 2, manifests }) },
    ...[...blobs.values()].map(({ digest, data }) => ({ name: `blobs/sha256/${digest.slice(7)}`, data })),
  ]);
}
