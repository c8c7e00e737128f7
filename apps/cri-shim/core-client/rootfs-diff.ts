import { randomUUID } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { CallOptions, Channel, Client } from '#common/grpc/client.ts';
import { mediaTypes } from '#common/oci/image.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { DiffDefinition, DiffHandlers } from '#proto/containerd/services/diff/v1/Diff.ts';
import type { LeasesDefinition, LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import { leased } from './leased.ts';

/** What containers have changed in their root file systems, by the services of the core. */
export class RootfsDiff {
  readonly #content: Client<ContentHandlers, ContentDefinition>;
  readonly #diff: Client<DiffHandlers, DiffDefinition>;
  readonly #leases: Client<LeasesHandlers, LeasesDefinition>;
  readonly #snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly #snapshotter: string;

  constructor(channel: Channel, snapshotter: string) {
    this.#content = channel.client('containerd.services.content.v1.Content');
    this.#diff = channel.client('containerd.services.diff.v1.Diff');
    this.#leases = channel.client('containerd.services.leases.v1.Leases');
    this.#snapshots = channel.client('containerd.services.snapshots.v1.Snapshots');
    this.#snapshotter = snapshotter;
  }

  /** Writes the changes of the snapshot as an uncompressed OCI layer. @throws not_found */
  async write(key: string, file: FileHandle): Promise<void> {
    // With the lease go the view and the layer.
    await leased(this.#leases, 'diff', (call) => this.#write(key, file, call));
  }

  async #write(key: string, file: FileHandle, call: CallOptions): Promise<void> {
    const snapshotter = this.#snapshotter;
    const { info } = await this.#snapshots.stat({ snapshotter, key });
    const { mounts: right } = await this.#snapshots.mounts({ snapshotter, key });
    const view = `diff-${randomUUID()}`;
    const { mounts: left } = await this.#snapshots.view({ snapshotter, key: view, parent: info?.parent ?? '' }, call);
    const { diff } = await this.#diff.diff({ left, right, mediaType: mediaTypes.ociLayer }, call);
    for await (const { data } of this.#content.read({ digest: diff?.digest ?? '' }, call)) await file.appendFile(data);
  }
}
