import { promisify } from 'node:util';
import { gzip, zstdCompress } from 'node:zlib';
import { type Blob, descriptorOf, digestOf, type TestImage } from '../../support/busybox-image.ts';
import { Random } from '../../support/random.ts';
import { type TarMember, tarArchive } from '../../support/tar-archive.ts';

type LayerCompression = 'gzip' | 'zstd';

const MIB = 1024 * 1024;
const compressors = { gzip: promisify(gzip), zstd: promisify(zstdCompress) };

/** Files as a distribution has them: most of some kilobytes, a few of hundreds. Four layers, some 80 MiB as gzip. */
export function smallFiles(): Buffer[] {
  const source = new Source(1);
  return [0, 1, 2, 3].map((layer) => {
    const members: TarMember[] = [];
    for (let directory = 0; directory < 150; directory++) {
      const name = `usr/share/part-${layer}/d${directory}`;
      members.push({ name: `${name}/`, type: '5', mode: 0o755 });
      for (let file = 0; file < 20; file++) members.push(source.file(`${name}/f${file}`, source.size()));
    }
    return tarArchive(withParents(members));
  });
}

/** Two layers of three files with 60 MiB each. */
export function bigFiles(): Buffer[] {
  const source = new Source(2);
  return [0, 1].map((layer) =>
    tarArchive(withParents([0, 1, 2].map((file) => source.file(`usr/lib/part-${layer}/f${file}`, 60 * MIB)))),
  );
}

/** An image of layers, the lowest first. `note` tells it from others with the same layers. */
export async function imageOfLayers(
  archives: readonly Buffer[],
  compression: LayerCompression,
  note = '',
): Promise<TestImage> {
  const compress = compressors[compression];
  const layers = await Promise.all(
    archives.map(async (archive) =>
      blob(`application/vnd.oci.image.layer.v1.tar+${compression}`, await compress(archive)),
    ),
  );
  return imageOfBlobs(layers, archives.map(digestOf), note);
}

export function imageOfBlobs(layers: readonly Blob[], diffIds: readonly string[], note: string): TestImage {
  const config = document('application/vnd.oci.image.config.v1+json', {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Labels: { note } },
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = document(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
  });
  return { manifest, config, layers };
}

function document(mediaType: string, value: object): Blob {
  return blob(mediaType, Buffer.from(JSON.stringify(value)));
}

function blob(mediaType: string, data: Buffer): Blob {
  return { mediaType, digest: digestOf(data), size: data.length, data };
}

function withParents(members: readonly TarMember[]): TarMember[] {
  const parents = new Set<string>();
  for (const { name } of members) {
    const parts = name.split('/').slice(0, -2);
    for (let depth = 1; depth <= parts.length; depth++) parents.add(`${parts.slice(0, depth).join('/')}/`);
  }
  return [...[...parents].map((name) => ({ name, type: '5', mode: 0o755 })), ...members];
}

/** Data that compresses to about a third: words, the more frequent the shorter, now and then bytes that don't compress. */
class Source {
  readonly #random: Random;
  readonly #pool: Buffer;

  constructor(seed: number) {
    this.#random = new Random(seed);
    const words = Array.from({ length: 20_000 }, () => this.#random.bytes(2 + this.#random.int(5)).toString('hex'));
    const pieces: Buffer[] = [];
    for (let length = 0; length < 24 * MIB; ) {
      const word = words[Math.floor(words.length * this.#random.next() ** 3)] as string;
      const piece = this.#random.chance(0.02) ? this.#random.bytes(16) : Buffer.from(`${word} `);
      pieces.push(piece);
      length += piece.length;
    }
    this.#pool = Buffer.concat(pieces);
  }

  size(): number {
    return this.#random.chance(0.04) ? 20_000 + this.#random.int(300_000) : 200 + this.#random.int(15_000);
  }

  /** Parts of the pool in an order that doesn't come again within the window of a compressor. */
  file(name: string, size: number): TarMember {
    const data = Buffer.allocUnsafe(size);
    for (let at = 0; at < size; ) {
      const length = Math.min(size - at, 16_384);
      const from = this.#random.int(this.#pool.length - length);
      at += this.#pool.copy(data, at, from, from + length);
    }
    return { name, mode: 0o644, mtime: 1_700_000_000, data };
  }
}
