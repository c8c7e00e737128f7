import { randomBytes } from 'node:crypto';
import { BerthError } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import type { LayerApplier } from '../diff/apply.ts';
import type { WithLease } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import type { DirectorySnapshotter } from '../snapshots/directory-snapshotter.ts';
import { compareTrees } from './compare-trees.ts';

/** A layer of an image, and the snapshot that it became. */
export interface UnpackedLayer {
  readonly layer: Descriptor;
  readonly diffId: string;
  readonly chainId: string;
  /** '' at the bottom. */
  readonly parent: string;
}

export interface SnapshotCheckParts {
  readonly content: ContentStore;
  readonly applier: LayerApplier;
  readonly withLease: WithLease;
}

/**
 * Unpacks a layer once more, beside its snapshot, and compares the two. With `repair` the fresh tree takes the place of
 * one that differs; containers that run on the old one keep it. Answers the first difference, undefined for none.
 * @throws data_loss when the layer doesn't unpack to what the image says; what applying throws.
 */
export async function checkSnapshot(
  { content, applier, withLease }: SnapshotCheckParts,
  snapshotter: DirectorySnapshotter,
  { layer, diffId, chainId, parent }: UnpackedLayer,
  { ns, repair, signal }: { readonly ns: string; readonly repair: boolean; readonly signal: AbortSignal },
): Promise<string | undefined> {
  return await withLease(ns, async (lease) => {
    const key = `verify-${randomBytes(6).toString('hex')} ${chainId}`;
    const mounts = await snapshotter.prepare(ns, key, parent, { lease });
    let isKept = false;
    try {
      const applied = await applier.apply({
        blobPath: content.pathOf(layer.digest),
        mediaType: layer.mediaType,
        mounts,
        signal,
      });
      if (applied.diffId !== diffId) {
        const message = `layer ${layer.digest} unpacks to ${applied.diffId}, but the image config says ${diffId}`;
        throw new BerthError('data_loss', message);
      }
      const difference = await compareTrees(snapshotter.filesPath(ns, chainId), snapshotter.filesPath(ns, key), signal);
      if (difference !== undefined && repair) isKept = snapshotter.replaceFiles(ns, chainId, key);
      return difference;
    } finally {
      if (!isKept) await snapshotter.remove(ns, key);
    }
  });
}
