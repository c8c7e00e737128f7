import { setImmediate as nextTurn } from 'node:timers/promises';
import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { Info as WireInfo } from '#proto/containerd/services/snapshots/v1/Info.ts';
import type { SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { Mount, SnapshotInfo, SnapshotKind } from './snapshotter.ts';
import type { Snapshotters } from './snapshotters.ts';

/** Infos per message of a list, as containerd sends them. */
const infosPerMessage = 100;

const kinds = { active: 'ACTIVE', view: 'VIEW', committed: 'COMMITTED' } as const satisfies Record<
  SnapshotKind,
  string
>;

/** `containerd.services.snapshots.v1.Snapshots`, for snapshotters by their names. */
export function snapshotsService(snapshotters: Snapshotters, log: Logger): Service {
  return implement<SnapshotsHandlers>(
    serviceDefinition('containerd.services.snapshots.v1.Snapshots'),
    {
      async prepare({ snapshotter, key, parent, labels }, { namespace, lease }) {
        const mounts = await snapshotters.named(snapshotter).prepare(namespace, key, parent, { labels, lease });
        return { mounts: mounts.map(mountToWire) };
      },
      async view({ snapshotter, key, parent, labels }, { namespace, lease }) {
        const mounts = await snapshotters.named(snapshotter).view(namespace, key, parent, { labels, lease });
        return { mounts: mounts.map(mountToWire) };
      },
      async mounts({ snapshotter, key }, { namespace }) {
        const mounts = await snapshotters.named(snapshotter).mounts(namespace, key);
        return { mounts: mounts.map(mountToWire) };
      },
      async commit({ snapshotter, name, key, labels, parent }, { namespace, lease }) {
        await snapshotters.named(snapshotter).commit(namespace, name, key, { labels, lease, parent });
        return {};
      },
      async remove({ snapshotter, key }, { namespace, lease }) {
        await snapshotters.named(snapshotter).remove(namespace, key, lease);
        return {};
      },
      stat({ snapshotter, key }, { namespace }) {
        return { info: infoToWire(snapshotters.named(snapshotter).stat(namespace, key)) };
      },
      update({ snapshotter, info, updateMask }, { namespace }) {
        if (!info?.name) throw new BerthError('invalid_argument', 'the name of the snapshot to update is missing');
        const updated = snapshotters.named(snapshotter).update(namespace, info.name, info.labels, updateMask?.paths);
        return { info: infoToWire(updated) };
      },
      async *list({ snapshotter, filters }, { namespace }) {
        let page: WireInfo[] = [];
        for (const info of snapshotters.named(snapshotter).list(namespace, filters)) {
          page.push(infoToWire(info));
          if (page.length < infosPerMessage) continue;
          yield { info: page };
          page = [];
          // Other calls must not wait until a list of thousands is out.
          await nextTurn();
        }
        if (page.length > 0) yield { info: page };
      },
      async usage({ snapshotter, key }, { namespace }) {
        return await snapshotters.named(snapshotter).usage(namespace, key);
      },
      async cleanup({ snapshotter }) {
        await snapshotters.named(snapshotter).cleanup();
        return {};
      },
    },
    { log },
  );
}

/** The shape of a mount on the wire, `containerd.types.Mount`. */
export function mountToWire({ type, source, target = '', options }: Mount): WireMount {
  return { type, source, target, options: [...options] };
}

function infoToWire({ name, parent = '', kind, createdAt, updatedAt, labels }: SnapshotInfo): WireInfo {
  return {
    name,
    parent,
    kind: kinds[kind],
    createdAt: timestampFromInstant(createdAt),
    updatedAt: timestampFromInstant(updatedAt),
    labels,
  };
}
