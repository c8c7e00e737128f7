import { randomUUID } from 'node:crypto';
import { BerthError, isCode } from '#common/errors.ts';
import type { CallOptions, Channel, Client } from '#common/grpc/client.ts';
import type { Descriptor } from '#common/oci/image.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { DiffDefinition, DiffHandlers } from '#proto/containerd/services/diff/v1/Diff.ts';
import type { LeasesDefinition, LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import { leased } from '../core-client/leased.ts';
import { chainId, type ImageFacts } from './image-reader.ts';

/** Unpacks images that other clients brought in without unpacking them, layer by layer over berthd's API. */
export class ImageUnpacker {
  readonly #content: Client<ContentHandlers, ContentDefinition>;
  readonly #diff: Client<DiffHandlers, DiffDefinition>;
  readonly #leases: Client<LeasesHandlers, LeasesDefinition>;
  readonly #snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly #snapshotter: string;
  readonly #unpacked = new Set<string>();

  constructor(channel: Channel, snapshotter: string) {
    this.#content = channel.client('containerd.services.content.v1.Content');
    this.#diff = channel.client('containerd.services.diff.v1.Diff');
    this.#leases = channel.client('containerd.services.leases.v1.Leases');
    this.#snapshots = channel.client('containerd.services.snapshots.v1.Snapshots');
    this.#snapshotter = snapshotter;
  }

  /**
   * Makes sure that the snapshot with all layers is there. Asks berthd once for each image.
   *
   * @throws `not_found` when a layer's content isn't in the store, `data_loss` when it is not what the image says.
   */
  async ensure(facts: ImageFacts): Promise<void> {
    if (facts.chainId === '' || this.#unpacked.has(facts.chainId)) return;
    if (!(await this.#exists(facts.chainId, {}))) await this.#unpack(facts);
    this.#unpacked.add(facts.chainId);
  }

  /** The image is gone, and its snapshots may be. */
  forget(chain: string): void {
    this.#unpacked.delete(chain);
  }

  async #unpack({ layers, diffIds, id, chainId: last }: ImageFacts): Promise<void> {
    if (layers.length !== diffIds.length) {
      throw new BerthError('data_loss', `image ${id} has ${layers.length} layers, and diff ids of ${diffIds.length}`);
    }
    await leased(this.#leases, 'unpack', async (call) => {
      for (const [index, layer] of layers.entries()) {
        const chain = chainId(diffIds.slice(0, index + 1));
        if (await this.#exists(chain, call)) continue;
        await this.#apply(layer, diffIds[index] ?? '', chainId(diffIds.slice(0, index)), chain, call);
      }
      // From here on the image keeps its snapshots.
      const label = `containerd.io/gc.ref.snapshot.${this.#snapshotter}`;
      const info = { digest: id, labels: { [label]: last } };
      await this.#content.update({ info, updateMask: { paths: [`labels.${label}`] } }, call);
    });
  }

  async #apply(layer: Descriptor, diffId: string, parent: string, chain: string, call: CallOptions): Promise<void> {
    const snapshotter = this.#snapshotter;
    const key = `unpack-${randomUUID()} ${chain}`;
    const { mounts } = await this.#snapshots.prepare({ snapshotter, key, parent }, call);
    try {
      const { mediaType, digest, size } = layer;
      const { applied } = await this.#diff.apply({ diff: { mediaType, digest, size: String(size) }, mounts }, call);
      if (applied?.digest !== diffId) {
        throw new BerthError('data_loss', `layer ${digest} unpacks to ${applied?.digest}, not to ${diffId}`);
      }
      await this.#snapshots.commit({ snapshotter, name: chain, key }, call);
    } catch (error) {
      await this.#snapshots.remove({ snapshotter, key }).catch(() => undefined);
      // Someone else has unpacked the same layer.
      if (!isCode(error, 'already_exists')) throw error;
    }
  }

  async #exists(key: string, call: CallOptions): Promise<boolean> {
    try {
      await this.#snapshots.stat({ snapshotter: this.#snapshotter, key }, call);
      return true;
    } catch (error) {
      if (isCode(error, 'not_found')) return false;
      throw error;
    }
  }
}
