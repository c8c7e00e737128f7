import { createHash, randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { BerthError, isCode } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import { labelKeys } from '#common/labels.ts';
import type { ContentStore } from '../content/store.ts';
import type { LayerApplier } from '../diff/apply.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Descriptor } from '../registry/document.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { allOrFirstFailure } from '../transfer/all-or-first-failure.ts';
import { AheadPlaces } from './ahead-places.ts';

export interface UnpackRequest {
  readonly ns: string;
  readonly snapshotter: Snapshotter;
  /** Protects what is made until something lasting refers to it. */
  readonly lease: string;
  readonly config: Descriptor;
  /** The lowest first. */
  readonly layers: readonly Descriptor[];
  /** Digests of the uncompressed layers, as the config names them. */
  readonly diffIds: readonly string[];
  readonly signal: AbortSignal;
  /** Resolves when the layer is in the content store. */
  readonly available: (layer: Descriptor) => Promise<void>;
  readonly onProgress?: (layer: Descriptor, bytes: number) => void;
  readonly onUnpacked?: (layer: Descriptor) => void;
}

/** Processes beside the one whose turn it is: each takes some 50 MiB of memory. */
const AHEAD = Math.min(1, availableParallelism() - 1);

/**
 * Turns layers into snapshots named by chain id, each on top of the one before. Where a snapshotter can put files on a
 * parent afterwards, layers are unpacked side by side, and committed in their order. Whoever wants the same snapshot at
 * the same time waits for the first one's work, and does it over should that fail.
 */
export class ImageUnpacker {
  readonly #content: ContentStore;
  readonly #leases: LeaseStore;
  readonly #applier: LayerApplier;
  readonly #queue = new KeyedQueue();
  readonly #ahead: AheadPlaces;

  /** @param ahead how many layers, of all images together, may be unpacked before their turn. */
  constructor(parts: { content: ContentStore; leases: LeaseStore; applier: LayerApplier }, ahead = AHEAD) {
    this.#content = parts.content;
    this.#leases = parts.leases;
    this.#applier = parts.applier;
    this.#ahead = new AheadPlaces(ahead);
  }

  /**
   * Unpacks an image and answers the name of its top snapshot, '' for an image without layers.
   * @throws invalid_argument when layers and config don't go together; data_loss when a layer isn't what the config says;
   *   what applying throws.
   */
  async unpack(request: UnpackRequest): Promise<string> {
    const { ns, config, layers, diffIds, snapshotter } = request;
    if (layers.length !== diffIds.length) {
      const message = `image config ${config.digest} names ${diffIds.length} layers, its manifest ${layers.length}`;
      throw new BerthError('invalid_argument', message);
    }
    const chainIds = chainIdsOf(diffIds);
    const failed = new AbortController();
    const one = { ...request, signal: AbortSignal.any([request.signal, failed.signal]) };
    const tasks: Promise<void>[] = [];
    for (const [index, layer] of layers.entries()) {
      const chainId = chainIds[index] as string;
      const place = {
        ...{ chainId, parent: chainIds[index - 1] ?? '', diffId: diffIds[index] as string },
        below: tasks.at(-1) ?? Promise.resolve(),
      };
      const ensure = (): Promise<void> => this.#ensureSnapshot(one, layer, place);
      tasks.push(this.#queue.run(`${ns}\0${snapshotter.name}\0${chainId}`, ensure, { signal: one.signal }));
    }
    await allOrFirstFailure(tasks, failed);
    const top = chainIds.at(-1) ?? '';
    if (top !== '') {
      const key = `${labelKeys.gcRefSnapshot}.${snapshotter.name}`;
      this.#content.update(ns, config.digest, { [key]: top }, [`labels.${key}`]);
    }
    return top;
  }

  async #ensureSnapshot(request: UnpackRequest, layer: Descriptor, place: Place): Promise<void> {
    if (this.#present(request, place.chainId)) return;
    this.#applier.warm();
    await request.available(layer);
    if (!request.snapshotter.rebases) await place.below;
    using start = await this.#ahead.take(place.below);
    request.signal.throwIfAborted();
    try {
      await this.#makeSnapshot(request, layer, { ...place, isAhead: start.isAhead });
    } catch (error) {
      // A client may have unpacked the same layer by itself meanwhile.
      if (!isCode(error, 'already_exists') || !this.#present(request, place.chainId)) throw error;
    }
  }

  /** Whether the snapshot is there; then it is in the lease. */
  #present({ ns, snapshotter, lease }: UnpackRequest, chainId: string): boolean {
    try {
      snapshotter.stat(ns, chainId);
    } catch (error) {
      if (isCode(error, 'not_found')) return false;
      throw error;
    }
    this.#leases.addResource(ns, lease, { type: `snapshots/${snapshotter.name}`, id: chainId });
    return true;
  }

  async #makeSnapshot(
    request: UnpackRequest,
    layer: Descriptor,
    place: Place & { readonly isAhead: boolean },
  ): Promise<void> {
    const { ns, snapshotter, lease, signal } = request;
    const { chainId, parent, diffId, below, isAhead } = place;
    const labels = { [labelKeys.snapshotRef]: chainId };
    const rebased = snapshotter.rebases && parent !== '';
    const lowers = (): Promise<string[]> => below.then(() => snapshotter.layers(ns, parent));
    const key = `extract-${Date.now()}-${randomBytes(4).toString('hex')} ${chainId}`;
    const mounts = await snapshotter.prepare(ns, key, rebased ? '' : parent, { labels, lease });
    try {
      const applied = await this.#applier.apply({
        blobPath: this.#content.pathOf(layer.digest),
        mediaType: layer.mediaType,
        mounts,
        ...(rebased && { lowers, isAhead }),
        signal,
        onProgress: (bytes) => request.onProgress?.(layer, bytes),
      });
      if (applied.diffId !== diffId) {
        const message = `layer ${layer.digest} unpacks to ${applied.diffId}, but the image config says ${diffId}`;
        throw new BerthError('data_loss', message);
      }
      await below;
      await snapshotter.commit(ns, chainId, key, { labels, lease, parent, keepsRoot: applied.hasRoot });
    } catch (error) {
      await snapshotter.remove(ns, key);
      throw isCode(error, 'already_exists') ? error : BerthError.from(error, `unpack layer ${layer.digest}`);
    }
    this.#content.update(ns, layer.digest, { [labelKeys.uncompressed]: diffId }, [`labels.${labelKeys.uncompressed}`]);
    request.onUnpacked?.(layer);
  }
}

interface Place {
  readonly chainId: string;
  readonly parent: string;
  readonly diffId: string;
  /** Resolves when the parent is there. */
  readonly below: Promise<void>;
}

/** OCI image-spec config.md, "Layer ChainID". */
export function chainIdsOf(diffIds: readonly string[]): string[] {
  const chainIds: string[] = [];
  for (const diffId of diffIds) {
    const below = chainIds.at(-1);
    const chained =
      below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`;
    chainIds.push(chained);
  }
  return chainIds;
}
