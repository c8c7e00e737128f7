import { BerthError, isCode } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import {
  type Descriptor,
  type ImageRootfs,
  type Index,
  MAX_DOCUMENT,
  type Manifest,
  type Platform,
  parseDocument,
  parseImageRootfs,
} from '../registry/document.ts';
import { isConfig, isIndex, isManifest } from '../registry/media-types.ts';
import { formatPlatform, platformDistance } from '../registry/platform.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { ImageUnpacker } from '../unpack/image-unpacker.ts';
import { allOrFirstFailure } from './all-or-first-failure.ts';
import { MAX_INDEX_DEPTH, referenceLabels, type Selection, selectManifests } from './image-graph.ts';
import { Limiter } from './limiter.ts';
import type { Progress } from './progress.ts';

/** Layers of one image that are fetched at the same time. */
const PARALLEL_BLOBS = 4;

export interface UnpackChoice {
  readonly platform: Platform;
  readonly snapshotter: Snapshotter;
}

export interface WalkRequest {
  readonly ns: string;
  readonly lease: string;
  /** What messages call the image. */
  readonly name: string;
  readonly selection: Selection;
  /** Every one that an image's platform fits is followed, one after another. None: nothing is unpacked. */
  readonly unpacks: readonly UnpackChoice[];
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Of an index from which no platform is singled out, what this denies is left out. */
  readonly has?: (manifest: Descriptor) => boolean;
  /** Sees to it that a blob is in the content store, and in the lease. */
  readonly ensure: (descriptor: Descriptor, parent: Descriptor | undefined, signal: AbortSignal) => Promise<void>;
}

/**
 * Goes down from an image's root through indexes and manifests to configs and layers, brings each to the content store,
 * labels parents so that they keep their children, and unpacks while later layers are still on their way.
 */
export class ImageWalk {
  readonly #content: ContentStore;
  readonly #unpacker: ImageUnpacker;
  readonly #request: WalkRequest;
  readonly #blobs = new Map<string, Promise<void>>();
  readonly #limiter = new Limiter(PARALLEL_BLOBS);
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #mismatched: Platform[] = [];
  #unpacked = 0;

  constructor(parts: { content: ContentStore; unpacker: ImageUnpacker }, request: WalkRequest) {
    this.#content = parts.content;
    this.#unpacker = parts.unpacker;
    this.#request = request;
    this.#signal = AbortSignal.any([request.signal, this.#failed.signal]);
  }

  /** Resolves when all is there; when it rejects, everything that it began has ended. */
  async run(root: Descriptor): Promise<void> {
    try {
      await this.#visit(root, undefined, 0);
    } catch (error) {
      this.#failed.abort(new BerthError('canceled', 'another part of the transfer failed'));
      throw error;
    } finally {
      await Promise.allSettled(this.#blobs.values());
    }
    const [offered] = this.#mismatched;
    if (this.#unpacked > 0 || offered === undefined) return;
    const wanted = this.#request.unpacks.map(({ platform }) => formatPlatform(platform)).join(', ');
    const message = `${this.#request.name} is an image for ${formatPlatform(offered)}, not for ${wanted}`;
    throw new BerthError('not_found', message);
  }

  async #visit(descriptor: Descriptor, parent: Descriptor | undefined, depth: number): Promise<void> {
    const { mediaType } = descriptor;
    if (!isIndex(mediaType) && !isManifest(mediaType)) return this.#blob(descriptor, parent);
    if (depth > MAX_INDEX_DEPTH) {
      throw new BerthError('invalid_argument', `${this.#request.name}: its indexes are nested too deeply`);
    }
    const document = await this.#document(descriptor, parent);
    if (document.kind === 'manifest') return this.#manifest(document, descriptor);
    const { selection, name, has = () => true } = this.#request;
    // The selection is the caller's for the outermost index; what lies below one of its entries was chosen with it.
    const chosen = depth === 0 ? selectManifests(document, selection, name) : document.manifests;
    const manifests = selection.platforms.length === 0 ? chosen.filter(has) : chosen;
    const others = depth === 0 && wantsMetadata(selection) ? document.manifests : [];
    const rest = others.filter((one) => !manifests.includes(one) && isManifest(one.mediaType) && has(one));
    this.#keep(descriptor, [...manifests, ...rest]);
    await allOrFirstFailure(
      [
        ...manifests.map((manifest) => this.#visit(manifest, descriptor, depth + 1)),
        ...rest.map((manifest) => this.#metadata(manifest, descriptor)),
      ],
      this.#failed,
    );
  }

  /** A manifest that isn't wanted itself, and its config. A registry that has some of the platforms only may lack them. */
  async #metadata(descriptor: Descriptor, parent: Descriptor): Promise<void> {
    try {
      const { config } = (await this.#document(descriptor, parent)) as Manifest;
      this.#keep(descriptor, [config]);
      await this.#blob(config, descriptor);
    } catch (error) {
      if (!isCode(error, 'not_found')) throw error;
    }
  }

  async #document(descriptor: Descriptor, parent: Descriptor | undefined): Promise<Manifest | Index> {
    const { size, digest } = descriptor;
    const { name, ns, ensure } = this.#request;
    if (size > MAX_DOCUMENT) {
      const message = `${name}: manifest ${digest} has ${size} bytes, the limit is ${MAX_DOCUMENT}`;
      throw new BerthError('resource_exhausted', message);
    }
    await ensure(descriptor, parent, this.#signal);
    return parseDocument(await this.#content.readAll(ns, digest, MAX_DOCUMENT), descriptor);
  }

  async #manifest({ config, layers }: Manifest, descriptor: Descriptor): Promise<void> {
    this.#keep(descriptor, [config, ...layers]);
    const blobs = [config, ...layers].map((child) => this.#blob(child, descriptor));
    await allOrFirstFailure([...blobs, this.#unpackManifest(config, layers)], this.#failed);
  }

  async #unpackManifest(config: Descriptor, layers: readonly Descriptor[]): Promise<void> {
    const { unpacks, ns, lease, progress } = this.#request;
    if (unpacks.length === 0 || !isConfig(config.mediaType)) return;
    await this.#blob(config, undefined);
    const rootfs = parseImageRootfs(await this.#content.readAll(ns, config.digest, MAX_DOCUMENT), config.digest);
    const wanted = unpacks.filter(({ platform }) => runsOn(platform, rootfs));
    if (wanted.length === 0) {
      this.#mismatched.push(rootfs.platform);
      return;
    }
    for (const snapshotter of new Set(wanted.map((choice) => choice.snapshotter))) {
      await this.#unpacker.unpack({
        ns,
        lease,
        snapshotter,
        config,
        layers,
        diffIds: rootfs.diffIds,
        signal: this.#signal,
        available: (layer) => this.#blob(layer, undefined),
        onProgress: (layer, bytes) => progress.extracting(layer, bytes),
        onUnpacked: (layer) => progress.finished('extracted', layer),
      });
    }
    this.#unpacked++;
  }

  /** A config or layer, fetched once however often the image names it. */
  #blob(descriptor: Descriptor, parent: Descriptor | undefined): Promise<void> {
    const known = this.#blobs.get(descriptor.digest);
    if (known !== undefined) return known;
    const fetched = this.#limiter.run(async () => {
      if (this.#signal.aborted) throw BerthError.from(this.#signal.reason);
      await this.#request.ensure(descriptor, parent, this.#signal);
    });
    this.#blobs.set(descriptor.digest, fetched);
    return fetched;
  }

  #keep(parent: Descriptor, children: readonly Descriptor[]): void {
    const labels = referenceLabels(children);
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    if (paths.length > 0) this.#content.update(this.#request.ns, parent.digest, labels, paths);
  }
}

function wantsMetadata({ allMetadata, platforms, limit }: Selection): boolean {
  return allMetadata === true && platforms.length > 0 && limit === 0;
}

/** An image that doesn't say what it is for is taken to be for us. */
function runsOn(wanted: Platform, { platform }: ImageRootfs): boolean {
  return (platform.os === '' && platform.architecture === '') || platformDistance(wanted, platform) !== undefined;
}
