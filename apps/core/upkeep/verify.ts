import { BerthError, isCode, messageOf } from '#common/errors.ts';
import type { ContentStore } from '../content/store.ts';
import type { Image, ImageStore } from '../images/store.ts';
import {
  type Descriptor,
  type ImageRootfs,
  MAX_DOCUMENT,
  parseDocument,
  parseImageRootfs,
} from '../registry/document.ts';
import { isConfig, isIndex, isManifest } from '../registry/media-types.ts';
import type { RegistryClientOptions } from '../registry/registry-client.ts';
import type { DirectorySnapshotter } from '../snapshots/directory-snapshotter.ts';
import type { Snapshotters } from '../snapshots/snapshotters.ts';
import { chainIdsOf } from '../unpack/image-unpacker.ts';
import { faultOfBlob } from './blob-check.ts';
import { type BlobRepairParts, refetchBlob } from './blob-repair.ts';
import { checkSnapshot, type SnapshotCheckParts, type UnpackedLayer } from './snapshot-check.ts';

export interface VerifyParts extends BlobRepairParts, SnapshotCheckParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly snapshotters: Snapshotters;
  readonly registry: RegistryClientOptions;
}

export interface VerifyRequest {
  readonly ns: string;
  /** None: all images, and all blobs. */
  readonly names: readonly string[];
  readonly repair: boolean;
  readonly signal: AbortSignal;
}

/** What became of one blob or snapshot. */
export interface Verified {
  readonly kind: 'blob' | 'snapshot';
  readonly id: string;
  /** Of a blob: its length. */
  readonly bytes: number;
  readonly images: readonly string[];
  readonly fault?: string;
  readonly repaired?: boolean;
  /** Why it could not be repaired. */
  readonly hindrance?: string;
}

/**
 * Reads the blobs of images again, and compares the snapshots made of them with their layers, from the bottom up.
 * @throws not_found for an image
 */
export async function* verify(parts: VerifyParts, request: VerifyRequest): AsyncGenerator<Verified> {
  const { ns, names } = request;
  const images = names.length === 0 ? parts.images.list(ns) : names.map((name) => parts.images.get(ns, name));
  const run = new Verification(parts, request, images);
  for (const { target } of images) yield* run.content(target);
  if (names.length === 0) {
    for (const { digest, size } of parts.content.list(ns)) yield* run.blob({ mediaType: '', digest, size });
  }
  yield* run.snapshots();
}

class Verification {
  readonly #parts: VerifyParts;
  readonly #request: VerifyRequest;
  readonly #users = new Map<string, Set<string>>();
  /** Whether a blob is sound by now, for those that were looked at. */
  readonly #sound = new Map<string, boolean>();
  readonly #layers = new Map<string, UnpackedLayer>();

  constructor(parts: VerifyParts, request: VerifyRequest, images: readonly Image[]) {
    this.#parts = parts;
    this.#request = request;
    for (const { name, target } of images) this.#use(target.digest, [name]);
  }

  /** A blob and all that it leads to. Of an index, manifests that aren't here are other machines'. */
  async *content(descriptor: Descriptor): AsyncGenerator<Verified> {
    const { digest, mediaType } = descriptor;
    yield* this.blob(descriptor);
    if (!this.#sound.get(digest) || !(isIndex(mediaType) || isManifest(mediaType))) return;
    const document = parseDocument(await this.#read(digest), descriptor);
    const children = document.kind === 'index' ? document.manifests : [document.config, ...document.layers];
    for (const child of children) this.#use(child.digest, this.#users.get(digest) ?? []);
    if (document.kind === 'index') {
      const held = children.filter((child) => this.#has(child));
      // With none of them it isn't an image.
      for (const child of held.length > 0 ? held : children.slice(0, 1)) yield* this.content(child);
      return;
    }
    for (const child of children) yield* this.blob(child);
    if (isConfig(document.config.mediaType) && this.#sound.get(document.config.digest)) {
      this.#unpacked(
        document.layers,
        parseImageRootfs(await this.#read(document.config.digest), document.config.digest),
      );
    }
  }

  async *blob(descriptor: Descriptor): AsyncGenerator<Verified> {
    const { digest, size } = descriptor;
    if (this.#sound.has(digest)) return;
    const { ns, repair, signal } = this.#request;
    const images = [...(this.#users.get(digest) ?? [])];
    const about = { kind: 'blob', id: digest, bytes: size, images } as const;
    const fault = await faultOfBlob(this.#parts.content, ns, descriptor, signal);
    this.#sound.set(digest, fault === undefined);
    if (fault === undefined) return yield about;
    if (!repair) return yield { ...about, fault };
    try {
      await refetchBlob(this.#parts, { ns, descriptor, images, registry: this.#parts.registry, signal });
      this.#sound.set(digest, true);
      yield { ...about, fault, repaired: true };
    } catch (error) {
      signal.throwIfAborted();
      yield { ...about, fault, hindrance: messageOf(error) };
    }
  }

  /** Those whose layers are sound: others can't be told from what they should be. */
  async *snapshots(): AsyncGenerator<Verified> {
    for (const snapshotter of this.#parts.snapshotters.all) {
      for (const unpacked of this.#layers.values()) {
        if (this.#sound.get(unpacked.layer.digest) && this.#isThere(snapshotter, unpacked.chainId)) {
          yield await this.#snapshot(snapshotter, unpacked);
        }
      }
    }
  }

  async #snapshot(snapshotter: DirectorySnapshotter, unpacked: UnpackedLayer): Promise<Verified> {
    const { repair, signal } = this.#request;
    const images = [...(this.#users.get(unpacked.layer.digest) ?? [])];
    const about = { kind: 'snapshot', id: `${snapshotter.name}/${unpacked.chainId}`, bytes: 0, images } as const;
    try {
      const fault = await checkSnapshot(this.#parts, snapshotter, unpacked, this.#request);
      return fault === undefined ? about : { ...about, fault, repaired: repair };
    } catch (error) {
      signal.throwIfAborted();
      return { ...about, fault: `not compared: ${messageOf(error)}`, hindrance: 'its layer could not be unpacked' };
    }
  }

  #unpacked(layers: readonly Descriptor[], { diffIds }: ImageRootfs): void {
    if (layers.length !== diffIds.length) return;
    const chainIds = chainIdsOf(diffIds);
    for (const [at, layer] of layers.entries()) {
      const [chainId = '', diffId = '', parent = ''] = [chainIds[at], diffIds[at], chainIds[at - 1]];
      this.#layers.set(chainId, { layer, diffId, chainId, parent });
    }
  }

  #use(digest: string, images: Iterable<string>): void {
    const known = this.#users.get(digest) ?? new Set();
    this.#users.set(digest, known);
    for (const image of images) known.add(image);
  }

  #has({ digest }: Descriptor): boolean {
    return isFound(() => this.#parts.content.info(this.#request.ns, digest));
  }

  #isThere(snapshotter: DirectorySnapshotter, chainId: string): boolean {
    return isFound(() => {
      const { kind } = snapshotter.stat(this.#request.ns, chainId);
      if (kind !== 'committed') throw new BerthError('not_found', `snapshot "${chainId}" is ${kind}`);
    });
  }

  #read(digest: string): Promise<Buffer> {
    return this.#parts.content.readAll(this.#request.ns, digest, MAX_DOCUMENT);
  }
}

function isFound(look: () => unknown): boolean {
  try {
    look();
    return true;
  } catch (error) {
    if (isCode(error, 'not_found')) return false;
    throw error;
  }
}
