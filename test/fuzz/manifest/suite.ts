import { isDeepStrictEqual } from 'node:util';
import { BerthError } from '#common/errors.ts';
import { type Descriptor, parseDocument, parseImageRootfs } from '../../../apps/core/registry/document.ts';
import { busyboxImage, descriptorOf, type TestImage } from '../../support/busybox-image.ts';
import { testStores } from '../../support/core-stores.ts';
import { Random } from '../../support/random.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { tarArchive } from '../../support/tar-archive.ts';
import type { FuzzOptions, FuzzReport, FuzzSuite } from '../suite.ts';
import { validConfig, validDocument } from './documents.ts';
import { ImportTrial } from './import-trial.ts';
import { mutated } from './mutate.ts';

const MAX_FAILURES = 8;
/** Documents that are only parsed for each archive that is imported. */
const PARSED_PER_IMPORTED = 20;
const DIGEST = `sha256:${'0'.repeat(64)}`;

export const manifestFuzz: FuzzSuite = {
  about: 'manifests, indexes and configs, right and wrong: parsed, and imported in archives',
  run: runManifestFuzz,
};

export async function runManifestFuzz({ seed, budgetMs, maxSequences = Infinity }: FuzzOptions): Promise<FuzzReport> {
  const dir = scratchDir();
  const stores = testStores(dir);
  const trial = new ImportTrial(stores);
  const image = busyboxImage();
  const random = new Random(seed);
  const failures: string[] = [];
  let sequences = 0;
  const end = performance.now() + budgetMs;
  try {
    for (; performance.now() < end && sequences < maxSequences && failures.length < MAX_FAILURES; sequences++) {
      if (sequences % PARSED_PER_IMPORTED > 0) {
        const wrong = parseWrong(random);
        if (wrong !== undefined) failures.push(wrong);
        continue;
      }
      const [name, archive] = archiveOf(image, random);
      const wrong = await trial.wrongWith(archive);
      if (wrong !== undefined) failures.push(`${wrong}\nfor an archive with ${name}`);
    }
    return { sequences, steps: sequences, failures };
  } finally {
    await stores.close();
    removeScratch(dir);
  }
}

/** Parses a document that is right, and one that may not be. */
function parseWrong(random: Random): string | undefined {
  const { mediaType, json } = validDocument(random);
  const config = validConfig(random);
  const descriptor = { mediaType, digest: DIGEST, size: 1 };
  const right = attempt(() => parseDocument(Buffer.from(JSON.stringify(json)), descriptor));
  const { schemaVersion: _, mediaType: __, ...expected } = json;
  const { kind: ___, ...parsed } = (right.value ?? {}) as Record<string, unknown>;
  if (!isDeepStrictEqual(parsed, expected)) return `${JSON.stringify(json)} is read as ${JSON.stringify(right)}`;
  const bytes = mutated(json, random);
  const result = attempt(() => parseDocument(bytes, descriptor));
  const documents = (result.value ?? {}) as { manifests?: Descriptor[]; layers?: Descriptor[]; config?: Descriptor };
  const found = [
    ...(documents.manifests ?? []),
    ...(documents.layers ?? []),
    ...(documents.config ? [documents.config] : []),
  ];
  const odd = found.find((one) => !isSound(one));
  if (odd !== undefined) return `${shown(bytes)} is taken, with ${JSON.stringify(odd)}`;
  const rootfsBytes = mutated(config, random);
  const rootfs = attempt(() => parseImageRootfs(rootfsBytes, DIGEST));
  return result.wrong ?? rootfs.wrong;
}

function isSound({ mediaType, digest, size }: Descriptor): boolean {
  const isDigest = /^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/.test(digest);
  return isDigest && Number.isSafeInteger(size) && size >= 0 && typeof mediaType === 'string' && mediaType !== '';
}

function attempt<T>(parse: () => T): { readonly value?: T; readonly wrong?: string } {
  try {
    return { value: parse() };
  } catch (error) {
    if (error instanceof BerthError && ['invalid_argument', 'unimplemented'].includes(error.code)) return {};
    return { wrong: `parsing throws ${error instanceof Error ? error.stack : String(error)}` };
  }
}

/** An OCI layout or a `docker save` archive of an image, one of its documents changed; and what that now is. */
function archiveOf(image: TestImage, random: Random): [string, Buffer] {
  const { manifest, config, layers } = image;
  const blobs = [config, ...layers];
  const blobName = (digest: string): string => `blobs/sha256/${digest.slice(7)}`;
  const members = blobs.map(({ digest, data }) => ({ name: blobName(digest), data }));
  if (random.chance(0.5)) {
    const saved = [
      {
        Config: blobName(config.digest),
        RepoTags: ['example.org/a:1'],
        Layers: layers.map(({ digest }) => blobName(digest)),
      },
    ];
    const data = mutated(saved, random);
    return [`manifest.json ${shown(data)}`, tarArchive([...members, { name: 'manifest.json', data }])];
  }
  const index = {
    schemaVersion: 2,
    manifests: [{ ...descriptorOf(manifest), annotations: { 'io.containerd.image.name': 'example.org/a:1' } }],
  };
  const data = mutated(index, random);
  return [
    `index.json ${shown(data)}`,
    tarArchive([
      { name: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' },
      { name: 'index.json', data },
      { name: blobName(manifest.digest), data: manifest.data },
      ...members,
    ]),
  ];
}

function shown(bytes: Buffer): string {
  return bytes.toString('latin1').slice(0, 1_000);
}
