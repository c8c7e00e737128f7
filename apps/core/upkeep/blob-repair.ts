import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasherFor } from '#common/digest.ts';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import { flush } from '#common/flush.ts';
import { labelKeys } from '#common/labels.ts';
import { parseReference } from '#common/reference.ts';
import type { ContentStore } from '../content/store.ts';
import type { WithLease } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import { RegistryClient, type RegistryClientOptions } from '../registry/registry-client.ts';
import type { BlobFetcher } from '../transfer/fetch.ts';

export interface BlobRepairParts {
  readonly content: ContentStore;
  readonly fetcher: BlobFetcher;
  readonly withLease: WithLease;
}

export interface BlobRepairRequest {
  readonly ns: string;
  readonly descriptor: Descriptor;
  /** Names of images that need the blob: their repositories have it, if any has. */
  readonly images: readonly string[];
  readonly registry: RegistryClientOptions;
  readonly signal: AbortSignal;
}

/**
 * Fetches a blob that is not what its digest says from where it came from, and puts it in place in one step: who reads
 * the old bytes goes on with them. The blob's record stays as it is.
 * @throws not_found when no source of it is known or has it; what the last source says; data_loss for wrong bytes.
 */
export async function refetchBlob(parts: BlobRepairParts, request: BlobRepairRequest): Promise<void> {
  const { ns, descriptor, images } = request;
  let failure = new BerthError('not_found', 'no registry is known to have it: import its archive, or pull, again');
  for (const repository of sourcesOf(parts.content, ns, descriptor.digest, images)) {
    try {
      await fetchFrom(parts, `${repository}@${descriptor.digest}`, request);
      return;
    } catch (error) {
      request.signal.throwIfAborted();
      failure = BerthError.from(error);
    }
  }
  throw failure;
}

async function fetchFrom(
  { content, fetcher, withLease }: BlobRepairParts,
  reference: string,
  request: BlobRepairRequest,
): Promise<void> {
  const { ns, descriptor, registry, signal } = request;
  using client = await RegistryClient.open(reference, registry);
  if (!hasRecord(content, ns, descriptor.digest)) {
    await withLease(ns, (lease) => fetcher.fetch({ ns, lease, client, descriptor, signal }));
    return;
  }
  const path = content.pathOf(descriptor.digest);
  const directory = join(dirname(path), '../../repair');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, randomBytes(8).toString('hex'));
  const { data, close } = await client.blob(descriptor, { offset: 0 }, signal);
  const hash = hasherFor(descriptor.digest);
  try {
    await using file = await open(temporary, 'wx', 0o444);
    let size = 0;
    for await (const piece of data) {
      size += piece.length;
      if (size > descriptor.size) break;
      hash.update(piece);
      await file.write(piece);
    }
    if (size !== descriptor.size || `sha256:${hash.digest('hex')}` !== descriptor.digest) {
      throw new BerthError('data_loss', `${client.reference.domain} sends other bytes for ${descriptor.digest}`);
    }
    await file.sync();
    // Whoever removed the blob meanwhile wants no file of it.
    content.info(ns, descriptor.digest);
    await rename(temporary, path);
    flush(dirname(path));
  } finally {
    close();
    await rm(temporary, { force: true });
  }
}

/** Repositories that may have it, as `domain/path`: those of the images first, since labels say no port. */
function sourcesOf(content: ContentStore, ns: string, digest: string, images: readonly string[]): string[] {
  const named = images.flatMap((image) => {
    try {
      const { domain, path } = parseReference(image);
      return [`${domain}/${path}`];
    } catch (error) {
      if (isCode(error, 'invalid_argument')) return [];
      throw new BerthError('internal', messageOf(error), { cause: error });
    }
  });
  const prefix = `${labelKeys.distributionSource}.`;
  const labels = hasRecord(content, ns, digest) ? content.info(ns, digest).labels : {};
  const labelled = Object.entries(labels)
    .filter(([key]) => key.startsWith(prefix))
    .flatMap(([key, paths]) => paths.split(',').map((path) => `${key.slice(prefix.length)}/${path}`));
  return [...new Set([...named, ...labelled])];
}

function hasRecord(content: ContentStore, ns: string, digest: string): boolean {
  try {
    content.info(ns, digest);
    return true;
  } catch (error) {
    if (isCode(error, 'not_found')) return false;
    throw error;
  }
}
