import { createHash } from 'node:crypto';
import { BerthError } from '#common/errors.ts';
import { type Descriptor, type ImageConfig, type Index, type Manifest, mediaTypes } from '#common/oci/image.ts';
import { architecture } from '#common/oci/image-archive.ts';
import type { CoreImages } from './core-images.ts';

/** What a manifest or index is for this machine; the same for every name of it. */
export interface ImageFacts {
  readonly id: string;
  readonly chainId: string;
  readonly config: ImageConfig;
  readonly layers: readonly Descriptor[];
  /** Digests of the layers' uncompressed archives, bottom first. */
  readonly diffIds: readonly string[];
  /** Every blob of the image by its digest, with its size. */
  readonly blobs: ReadonlyMap<string, number>;
}

/** An index may name indexes, but not endlessly. */
const MAX_DEPTH = 4;

/**
 * Reads the image that `target` stands for on this machine.
 *
 * @throws `not_found` when a document isn't in the store or none is for this machine, `invalid_argument` when one is
 * not what it says it is.
 */
export async function readImage(core: CoreImages, target: Descriptor): Promise<ImageFacts> {
  const blobs = new Map<string, number>();
  const manifest = await readManifest(core, target, blobs, MAX_DEPTH);
  for (const { digest, size } of [manifest.config, ...manifest.layers]) blobs.set(digest, size);
  const config = await core.document<ImageConfig>(manifest.config);
  const diffIds = config.rootfs?.diff_ids ?? [];
  return { id: manifest.config.digest, chainId: chainId(diffIds), config, layers: manifest.layers, diffIds, blobs };
}

/**
 * The key of the snapshot with all layers applied (image-spec config.md, "Layer ChainID"). Empty without layers.
 */
export function chainId(diffIds: readonly string[]): string {
  const [first = '', ...others] = diffIds;
  const next = (chain: string, diffId: string) =>
    `sha256:${createHash('sha256').update(`${chain} ${diffId}`).digest('hex')}`;
  return others.reduce(next, first);
}

async function readManifest(
  core: CoreImages,
  descriptor: Descriptor,
  blobs: Map<string, number>,
  depth: number,
): Promise<Manifest> {
  blobs.set(descriptor.digest, descriptor.size);
  const document = await core.document<Partial<Manifest & Index>>(descriptor);
  if (isIndex(descriptor)) {
    const chosen = (document.manifests ?? []).find(isForThisMachine);
    if (chosen === undefined || depth === 0) {
      throw new BerthError('not_found', `${descriptor.digest} has no image for linux/${architecture()}`);
    }
    return readManifest(core, chosen, blobs, depth - 1);
  }
  const { config, layers } = document;
  if (config === undefined || layers === undefined || document.manifests !== undefined) {
    throw new BerthError('invalid_argument', `${descriptor.digest} is not an image manifest`);
  }
  return { schemaVersion: 2, config, layers };
}

function isIndex({ mediaType }: Descriptor): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex;
}

function isForThisMachine({ platform }: Descriptor): boolean {
  return platform === undefined || (platform.os === 'linux' && platform.architecture === architecture());
}
