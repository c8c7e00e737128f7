import { sha256 } from '#common/digest.ts';
import { BerthError, isCode } from '#common/errors.ts';
import { mediaTypes } from '#common/oci/image.ts';
import { formatReference, parseReference, withDefaultTag } from '#common/reference.ts';
import type { ContentStore } from '../content/store.ts';
import type { Descriptor } from '../registry/document.ts';
import { detectCompression } from '../unpack/decompress.ts';
import type { IngestedArchive, IngestedBlob, IngestRequest } from './archive-ingest.ts';
import { compressLayer } from './compress-layer.ts';

/** One image of a `docker save` archive, as its manifest.json lists it. */
interface SavedImage {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

const LAYER_TYPES = {
  gzip: mediaTypes.dockerLayerGzip,
  zstd: mediaTypes.dockerLayerZstd,
  none: mediaTypes.dockerLayer,
} as const;

/**
 * Makes manifests for the images of a `docker save` archive, which has none, and an index of them, as if it were an OCI
 * layout. Answers the index and its entries, which are annotated with their names.
 * @throws invalid_argument when the archive lacks what its manifest.json names.
 */
export async function indexDockerArchive(
  content: ContentStore,
  archive: IngestedArchive,
  request: IngestRequest & { readonly forceCompress: boolean },
): Promise<{ readonly root: Descriptor; readonly manifests: readonly Descriptor[] }> {
  const manifests: Descriptor[] = [];
  for (const image of parseSavedImages(archive.documents.get('manifest.json') ?? '')) {
    const config = { mediaType: mediaTypes.dockerConfig, ...blobOf(archive, image.config) };
    const layers: Descriptor[] = [];
    for (const name of image.layers) layers.push(await describeLayer(content, request, blobOf(archive, name)));
    const document = { schemaVersion: 2, mediaType: mediaTypes.dockerManifest, config, layers };
    const manifest = await writeDocument(content, request, document, mediaTypes.dockerManifest);
    if (image.tags.length === 0) manifests.push(manifest);
    for (const tag of image.tags) manifests.push({ ...manifest, annotations: nameAnnotations(tag) });
  }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  return { root: await writeDocument(content, request, index, mediaTypes.ociIndex), manifests };
}

function parseSavedImages(text: string): SavedImage[] {
  const refuse = (why: string): never => {
    throw new BerthError('invalid_argument', `manifest.json of the archive: ${why}`);
  };
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    refuse('it is not JSON');
  }
  if (!Array.isArray(list)) return refuse('it is not a list');
  const strings = (value: unknown): string[] => {
    const names: unknown[] = Array.isArray(value ?? [])
      ? ((value as unknown[] | null) ?? [])
      : refuse('RepoTags and Layers must be lists');
    return names.map((name) => (typeof name === 'string' ? name : refuse('names must be strings')));
  };
  return list.map((image: { Config?: unknown; RepoTags?: unknown; Layers?: unknown } | null) => {
    if (typeof image?.Config !== 'string') return refuse('an image has no Config');
    return { config: image.Config, tags: strings(image.RepoTags), layers: strings(image.Layers) };
  });
}

function blobOf(archive: IngestedArchive, name: string): IngestedBlob {
  const blob = archive.blobs.get(name.replace(/^\.\//, ''));
  if (blob === undefined)
    throw new BerthError('invalid_argument', `the archive lacks "${name}", which its manifest.json names`);
  return blob;
}

async function describeLayer(
  content: ContentStore,
  request: IngestRequest & { readonly forceCompress: boolean },
  blob: IngestedBlob,
): Promise<Descriptor> {
  await using reader = await content.open(request.ns, blob.digest);
  const compression = detectCompression(await reader.read(0, 6));
  if (compression === 'none' && request.forceCompress) {
    return { mediaType: LAYER_TYPES.gzip, ...(await compressLayer(content, blob.digest, request)) };
  }
  return { mediaType: LAYER_TYPES[compression], ...blob };
}

function nameAnnotations(tag: string): Record<string, string> {
  const reference = withDefaultTag(parseReference(tag));
  const name = formatReference(reference);
  return { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': reference.tag ?? name };
}

async function writeDocument(
  content: ContentStore,
  { ns, lease, signal }: IngestRequest,
  document: object,
  mediaType: string,
): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(document));
  const digest = sha256(bytes);
  try {
    await using writer = await content.writer(ns, {
      ref: `manifest-${digest}`,
      total: bytes.length,
      expected: digest,
      lease,
      signal,
    });
    if (writer.offset > 0) await writer.truncate(0);
    await writer.write(bytes);
    await writer.commit({ size: bytes.length, expected: digest, lease });
  } catch (error) {
    if (!isCode(error, 'already_exists')) throw error;
  }
  return { mediaType, digest, size: bytes.length };
}
