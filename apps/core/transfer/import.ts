import { BerthError } from '#common/errors.ts';
import { mediaTypes } from '#common/oci/image.ts';
import type { Descriptor } from '../registry/document.ts';
import { type Index, parseDocument } from '../registry/document.ts';
import { descriptorDistance } from '../registry/platform.ts';
import { type IngestedArchive, ingestArchive } from './archive-ingest.ts';
import { indexDockerArchive } from './docker-archive.ts';
import { referenceLabels, type Selection } from './image-graph.ts';
import { archiveNames, type ImageDestination, requireNames, rootNames, storeImage } from './image-names.ts';
import { ImageWalk, type UnpackChoice } from './image-walk.ts';
import { isPresent } from './present-blob.ts';
import type { Progress } from './progress.ts';
import type { PullParts } from './pull.ts';

export interface ImportRequest {
  readonly archive: AsyncIterable<Buffer>;
  /** Whether to compress the plain layers of a `docker save` archive; an OCI layout's digests leave no choice. */
  readonly forceCompress: boolean;
  readonly destination: ImageDestination;
  readonly selection: Selection;
  readonly unpacks: readonly UnpackChoice[];
  readonly lease: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Imports the images of an archive: an OCI image layout in a tar, or what `docker save` writes. Answers their names.
 */
export async function importImages(parts: PullParts, request: ImportRequest): Promise<readonly string[]> {
  const { destination, lease, progress, signal } = request;
  const { ns } = destination;
  progress.step('Importing');
  const archive = await ingestArchive(parts, request.archive, { ns, lease, signal });
  const { root, manifests } = await indexOf(parts, archive, { ns, lease, signal }, request.forceCompress);

  const wanted = manifests.filter((manifest) => isWanted(manifest, request.selection));
  const labels = referenceLabels(wanted);
  const paths = Object.keys(labels).map((key) => `labels.${key}`);
  if (paths.length > 0) parts.content.update(ns, root.digest, labels, paths);
  for (const manifest of wanted) await walk(parts, request, manifest);

  const named = [
    ...rootNames(destination, root).map((name) => ({ name, target: root })),
    ...wanted.flatMap((target) => archiveNames(destination, target).map((name) => ({ name, target }))),
  ];
  const names = [...new Set(named.map(({ name }) => name))];
  requireNames(names, 'the archive');
  for (const { name, target } of named) {
    storeImage(parts.images, destination, name, target);
    progress.named('saved', name, target);
  }
  progress.step('Completed import');
  return names;
}

async function indexOf(
  parts: PullParts,
  archive: IngestedArchive,
  place: { readonly ns: string; readonly lease: string; readonly signal: AbortSignal },
  forceCompress: boolean,
): Promise<{ readonly root: Descriptor; readonly manifests: readonly Descriptor[] }> {
  const layout = archive.documents.get('oci-layout');
  if (layout === undefined) {
    if (archive.documents.has('manifest.json'))
      return indexDockerArchive(parts.content, archive, { ...place, forceCompress });
    throw new BerthError('invalid_argument', 'the archive is neither an OCI image layout nor a docker save archive');
  }
  if (!/"imageLayoutVersion"\s*:\s*"1\.0\.0"/.test(layout)) {
    throw new BerthError('invalid_argument', 'the archive has an OCI image layout of an unknown version');
  }
  const blob = archive.blobs.get('index.json');
  const text = archive.documents.get('index.json');
  if (blob === undefined || text === undefined) {
    throw new BerthError('invalid_argument', 'the OCI image layout in the archive lacks its index.json');
  }
  const root = { mediaType: mediaTypes.ociIndex, ...blob };
  return { root, manifests: (parseDocument(Buffer.from(text), root) as Index).manifests };
}

/** Entries of an archive's index are images of their own, not variants of one. */
function isWanted(manifest: Descriptor, { platforms }: Selection): boolean {
  return platforms.length === 0 || descriptorDistance(platforms, manifest) !== undefined;
}

async function walk(parts: PullParts, request: ImportRequest, image: Descriptor): Promise<void> {
  const { destination, lease, progress, signal, selection, unpacks } = request;
  const { ns } = destination;
  const ensure = async ({ digest, mediaType }: Descriptor): Promise<void> => {
    if (isPresent(parts, { ns, digest, lease })) return;
    throw new BerthError('invalid_argument', `the archive lacks ${digest} (${mediaType})`);
  };
  const has = ({ digest }: Descriptor): boolean => isPresent(parts, { ns, digest, lease });
  const name = image.annotations?.['io.containerd.image.name'] ?? image.digest;
  await new ImageWalk(parts, { ns, lease, name, selection, unpacks, progress, signal, ensure, has }).run(image);
}
