import { BerthError, isCode } from '#common/errors.ts';
import { mediaTypes } from '#common/oci/image.ts';
import { archiveEnd, fileFrame } from '#common/oci/tar-writer.ts';
import { parseReference } from '#common/reference.ts';
import type { ContentStore } from '../content/store.ts';
import type { ImageStore } from '../images/store.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Descriptor, Platform } from '../registry/document.ts';
import { hostPlatform } from '../registry/platform.ts';
import { type ExportedManifest, ExportWalk } from './export-walk.ts';
import type { Progress } from './progress.ts';

export interface ExportRequest {
  readonly ns: string;
  /** Of the images, as the archive names them too. */
  readonly names: readonly string[];
  /** Parts of multi-platform images to export; none: all of them, which must then be there. */
  readonly platforms: readonly Platform[];
  /** Whether to add the manifest.json that `docker load` of old wants. */
  readonly forDocker: boolean;
  /** Whether to leave out layers that may not be passed on. */
  readonly skipNonDistributable: boolean;
  readonly lease: string;
  readonly progress: Progress;
}

export interface ExportParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseStore;
}

/**
 * An archive of images: an OCI image layout (image-layout.md) in a tar. All documents are read and all blobs looked up
 * before the first byte, so that what is missing fails the export as a whole.
 * @throws not_found for an image, or a part of one.
 */
export async function* exportImages(parts: ExportParts, request: ExportRequest): AsyncGenerator<Buffer> {
  const { ns, names, progress } = request;
  if (names.length === 0) throw new BerthError('invalid_argument', 'the export names no image');
  progress.step('Exporting');
  const walk = new ExportWalk(parts.content, request);
  const roots: Descriptor[] = [];
  const docker: object[] = [];
  for (const name of names) {
    const { target } = parts.images.get(ns, name);
    parts.leases.addResource(ns, request.lease, { type: 'content', id: target.digest });
    const { mediaType, digest, size } = target;
    const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': refNameOf(name) };
    roots.push({ mediaType, digest, size, annotations });
    const manifests = await walk.add({ mediaType, digest, size }, name);
    const best = bestForHost(manifests);
    if (best !== undefined) docker.push(dockerEntry(name, best));
  }

  yield* document('oci-layout', { imageLayoutVersion: '1.0.0' });
  yield* document('index.json', { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: roots });
  if (request.forDocker && docker.length > 0) yield* document('manifest.json', docker);
  for (const { digest, size } of walk.blobs) {
    const { header, padding } = fileFrame(blobName(digest), size);
    yield header;
    await using reader = await parts.content.open(ns, digest);
    yield* reader.stream();
    yield padding;
  }
  yield Buffer.from(archiveEnd);
  progress.step('Completed export');
}

function* document(name: string, value: unknown): Generator<Buffer> {
  const data = Buffer.from(JSON.stringify(value));
  const { header, padding } = fileFrame(name, data.length);
  yield Buffer.concat([header, data, padding]);
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** What the name says beyond the repository; a name that is no reference stands for itself. */
function refNameOf(name: string): string {
  try {
    const { tag, digest } = parseReference(name);
    return tag ?? digest ?? name;
  } catch (error) {
    if (!isCode(error, 'invalid_argument')) throw error;
    return name;
  }
}

/** Docker's format knows one platform per image. */
function bestForHost(manifests: readonly ExportedManifest[]): ExportedManifest | undefined {
  const host = hostPlatform();
  const same = ({ platform }: ExportedManifest) =>
    platform?.os === host.os && platform.architecture === host.architecture;
  return manifests.find(same) ?? manifests[0];
}

function dockerEntry(name: string, { config, layers }: ExportedManifest): object {
  const tagged = /:[^/:@]+$/.test(name);
  return {
    Config: blobName(config.digest),
    RepoTags: tagged ? [name] : [],
    Layers: layers.map(({ digest }) => blobName(digest)),
  };
}
