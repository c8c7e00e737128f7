import { BerthError, isCode } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import type { ImageStore } from '../images/store.ts';
import type { LeaseStore } from '../leases/store.ts';
import { MAX_DOCUMENT, type Platform } from '../registry/document.ts';
import { isNonDistributable } from '../registry/media-types.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import { RegistryPusher } from '../registry/registry-pusher.ts';
import { allOrFirstFailure } from './all-or-first-failure.ts';
import { Limiter } from './limiter.ts';
import type { Progress } from './progress.ts';
import { mountSource, type PushPart, planPush } from './push-plan.ts';

/** Parts of one image that are sent at the same time, as containerd has it. */
const PARALLEL_UPLOADS = 3;

export interface PushRequest {
  readonly ns: string;
  /** Of the image here. */
  readonly name: string;
  /** Where it goes. */
  readonly reference: string;
  readonly registry: RegistryClientOptions;
  /** None: all that the image has. */
  readonly platforms: readonly Platform[];
  readonly lease: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface PushParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: LeaseStore;
}

/**
 * Pushes an image: its blobs, then the manifests that name them, then the indexes, so that what the registry has is
 * whole at any time. What it has already isn't sent.
 * @throws not_found for the image and for parts that neither side has; what {@link RegistryPusher} throws.
 */
export async function pushImage(parts: PushParts, request: PushRequest): Promise<void> {
  const { ns, name, reference, progress, lease } = request;
  const { target } = parts.images.get(ns, name);
  parts.leases.addResource(ns, lease, { type: 'content', id: target.digest });
  const destination = `OCI Registry (${reference})`;
  using pusher = await RegistryPusher.open(reference, request.registry);
  progress.step(`Pushing to ${destination}`);
  progress.begin('pushing content', name, target);
  const { blobs, manifests, indexes } = await planPush(parts.content, { ns, name, target }, request.platforms);

  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const push = { content: parts.content, pusher, request: { ...request, signal } };
  for (const { descriptor, parent } of [...indexes.toReversed(), ...manifests, ...blobs]) {
    progress.waiting(descriptor, parent);
  }
  await inParallel(blobs, failed, (part) => pushBlob(push, part));
  await inParallel(manifests, failed, (part) => pushDocument(push, part));
  for (const part of indexes) await pushIndex(push, part);

  progress.named('pushed content', name, target);
  progress.step(`Completed push to ${destination}`);
}

interface Push extends Pick<PushParts, 'content'> {
  readonly pusher: RegistryPusher;
  readonly request: PushRequest;
}

async function pushBlob({ content, pusher, request }: Push, { descriptor, sources }: PushPart): Promise<void> {
  const { ns, progress, signal } = request;
  if (await pusher.hasBlob(descriptor, signal)) return progress.finished('already exists', descriptor);
  const blob = await openIfThere(content, ns, descriptor.digest);
  if (blob === undefined) {
    // Such a layer comes from elsewhere: whoever pulls the image takes it from there.
    if (isNonDistributable(descriptor.mediaType)) return progress.finished('already exists', descriptor);
    const message = `neither the registry nor this store has ${descriptor.digest} of ${request.name}; name the platforms that are here`;
    throw new BerthError('not_found', message);
  }
  await using reader = blob;
  const { labels } = content.info(ns, descriptor.digest);
  const outcome = await pusher.upload({
    descriptor: { ...descriptor, size: reader.size },
    mountFrom: mountSource(pusher.reference, { ...sources, ...labels }),
    read: (offset, length) => reader.stream(offset, length),
    signal,
    onProgress: (offset) => progress.uploading(descriptor, offset),
  });
  progress.finished(outcome === 'mounted' ? 'already exists' : 'complete', descriptor);
}

async function openIfThere(content: ContentStore, ns: string, digest: string) {
  try {
    return await content.open(ns, digest);
  } catch (error) {
    if (isCode(error, 'not_found')) return undefined;
    throw error;
  }
}

/** Only the root gets the tag. */
async function pushDocument({ content, pusher, request }: Push, { descriptor, parent }: PushPart): Promise<void> {
  const { ns, progress, signal } = request;
  const { tag: wanted, digest } = pusher.reference;
  const tag = parent === undefined && (digest === undefined || digest === descriptor.digest) ? wanted : undefined;
  if (await pusher.hasManifest(descriptor, tag, signal)) return progress.finished('already exists', descriptor);
  const bytes = await content.readAll(ns, descriptor.digest, MAX_DOCUMENT);
  await pusher.putManifest(descriptor, bytes, tag, signal);
  progress.finished('complete', descriptor);
}

async function pushIndex(push: Push, part: PushPart): Promise<void> {
  try {
    await pushDocument(push, part);
  } catch (error) {
    // A registry may refuse an index that names what it lacks, as when only some of the platforms were pushed.
    if (!isCode(error, 'failed_precondition')) throw error;
    const why = 'manifest list/index references to blobs and/or manifests are missing in your target registry';
    throw BerthError.from(error, why);
  }
}

async function inParallel(
  list: readonly PushPart[],
  failed: AbortController,
  push: (part: PushPart) => Promise<void>,
): Promise<void> {
  const limiter = new Limiter(PARALLEL_UPLOADS);
  await allOrFirstFailure(
    list.map((part) => limiter.run(() => push(part))),
    failed,
  );
}
