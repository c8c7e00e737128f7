import { isCode } from '#common/errors.ts';
import type { Channel, Client } from '#common/grpc/client.ts';
import type {
  IntrospectionDefinition,
  IntrospectionHandlers,
} from '#proto/containerd/services/introspection/v1/Introspection.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';

interface Usage {
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/** How much room unpacked layers take, and where. */
export class LayerUsage {
  readonly #introspection: Client<IntrospectionHandlers, IntrospectionDefinition>;
  readonly #snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly #snapshotter: string;
  /** Of committed snapshots, which never change. */
  readonly #known = new Map<string, Usage>();
  #root: string | undefined;

  constructor(channel: Channel, snapshotter: string) {
    this.#introspection = channel.client('containerd.services.introspection.v1.Introspection');
    this.#snapshots = channel.client('containerd.services.snapshots.v1.Snapshots');
    this.#snapshotter = snapshotter;
  }

  /** Folder that the snapshotter keeps its layers in. */
  async root(signal?: AbortSignal): Promise<string> {
    if (this.#root === undefined) {
      const filters = [`type==io.containerd.snapshotter.v1,id==${this.#snapshotter}`];
      const { plugins } = await this.#introspection.plugins({ filters }, { signal });
      this.#root = plugins[0]?.exports.root ?? '';
    }
    return this.#root;
  }

  /** The layers of images, without the writable layers of containers. */
  async total(signal?: AbortSignal): Promise<Usage> {
    const names = new Set<string>();
    const request = { snapshotter: this.#snapshotter, filters: ['kind==committed'] };
    for await (const { info } of this.#snapshots.list(request, { signal })) {
      for (const { name } of info) names.add(name);
    }
    for (const name of this.#known.keys()) if (!names.has(name)) this.#known.delete(name);
    for (const name of names) if (!this.#known.has(name)) await this.#measure(name, signal);
    let [bytes, inodes] = [0n, 0n];
    for (const usage of this.#known.values()) {
      bytes += usage.bytes;
      inodes += usage.inodes;
    }
    return { bytes, inodes };
  }

  async #measure(key: string, signal?: AbortSignal): Promise<void> {
    try {
      const { size, inodes } = await this.#snapshots.usage({ snapshotter: this.#snapshotter, key }, { signal });
      this.#known.set(key, { bytes: BigInt(size), inodes: BigInt(inodes) });
    } catch (error) {
      if (!isCode(error, 'not_found')) throw error;
    }
  }
}
