import { labelKeys, validateLabel } from '#common/labels.ts';
import { formatReference } from '#common/reference.ts';
import type { ContentStore } from '../content/store.ts';
import type { ImageStore } from '../images/store.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import { RegistryClient, type RegistryClientOptions } from '../registry/registry-client.ts';
import type { ImageUnpacker } from '../unpack/image-unpacker.ts';
import type { BlobFetcher } from './fetch.ts';
import type { Selection } from './image-graph.ts';
import { type ImageDestination, requireNames, rootNames, storeImage } from './image-names.ts';
import { ImageWalk, type UnpackChoice } from './image-walk.ts';
import type { Progress } from './progress.ts';

export interface PullRequest {
  readonly reference: string;
  readonly registry: RegistryClientOptions;
  readonly destination: ImageDestination;
  readonly selection: Selection;
  readonly unpacks: readonly UnpackChoice[];
  readonly lease: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface PullParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseStore;
  readonly unpacker: ImageUnpacker;
  readonly fetcher: BlobFetcher;
}

/**
 * Pulls an image: what the reference stands for, everything below it that was asked for, snapshots if asked for, and the
 * image's name last, so that a name always has all behind it.
 */
export async function pullImage(parts: PullParts, request: PullRequest): Promise<void> {
  const { destination, progress, signal, lease } = request;
  const source = `OCI Registry (${request.reference})`;
  using client = await RegistryClient.open(request.reference, request.registry);
  const name = destination.name === '' ? formatReference(client.reference) : destination.name;
  progress.step(`Resolving from ${source}`);
  const root = await client.resolve(signal);
  progress.step(`Pulling from ${source}`);
  progress.begin('fetching image content', name, root);

  const { ns } = destination;
  const ensure = async (descriptor: Descriptor, parent: Descriptor | undefined, signal: AbortSignal): Promise<void> => {
    progress.waiting(descriptor, parent);
    const onProgress = (offset: number): void => progress.downloading(descriptor, offset);
    const outcome = await parts.fetcher.fetch({ ns, lease, client, descriptor, signal, onProgress });
    rememberSource(parts.content, ns, descriptor.digest, client);
    progress.finished(outcome === 'exists' ? 'already exists' : 'complete', descriptor);
  };
  const { selection, unpacks } = request;
  await new ImageWalk(parts, { ns, lease, name, selection, unpacks, progress, signal, ensure }).run(root);

  const names = rootNames(destination, root);
  requireNames(names, request.reference);
  for (const name of names) {
    storeImage(parts.images, destination, name, root);
    progress.named('saved', name, root);
  }
  progress.step(`Completed pull from ${source}`);
}

/** Notes on a blob which repositories have it: a push can then borrow it from there. */
function rememberSource(content: ContentStore, ns: string, digest: string, { reference }: RegistryClient): void {
  const host = reference.domain.replace(/:[0-9]+$/, '');
  const key = `${labelKeys.distributionSource}.${host}`;
  const known = content.info(ns, digest).labels[key]?.split(',') ?? [];
  if (known.includes(reference.path)) return;
  const value = [...known, reference.path].sort().join(',');
  try {
    validateLabel(key, value);
  } catch {
    // A blob that half the world shares has more sources than a label holds.
    return;
  }
  content.update(ns, digest, { [key]: value }, [`labels.${key}`]);
}
