import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import type { Info as WireInfo } from '#proto/containerd/services/snapshots/v1/Info.ts';
import type { SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { Mount, SnapshotInfo, SnapshotKind, Snapshotter } from './snapshotter.ts';

/** Infos per message of a list, as containerd sends them. */
const infosPerMessage = 100;

const kinds = { active: 'ACTIVE', view: 'VIEW', committed: 'COMMITTED' } as const satisfies Record<
  SnapshotKind,
  string
>;

/** `containerd.services.snapshots.v1.Snapshots`, for snapshotters by their names. */
export function snapshotsService(snapshotters: readonly Snapshotter[], log: Logger): Service {
  const find = (name: string): Snapshotter => {
    const snapshotter = snapshotters.find((candidate) => candidate.name === name);
    if (snapshotter) return snapshotter;
    const known = snapshotters.map((candidate) => candidate.name).join(', ');
    throw new BerthError('invalid_argument', `snapshotter "${name}" is not loaded: there is ${known}`);
  };
  return implement<SnapshotsHandlers>(
    serviceDefinition('containerd.services.snapshots.v1.Snapshots'),
    {
      async prepare({ snapshotter, key, parent, labels }, { namespace, lease }) {
        const mounts = await find(snapshotter).prepare(namespace, key, parent, { labels, lease });
        return { mounts: mounts.map(mountToWire) };
      },
      async view({ snapshotter, key, parent, labels }, { namespace, lease }) {
        const mounts = await find(snapshotter).view(namespace, key, parent, { labels, lease });
        return { mounts: mounts.map(mountToWire) };
      },
      async mounts({ snapshotter, key }, { namespace }) {
        const mounts = await find(snapshotter).mounts(namespace, key);
        return { mounts: mounts.map(mountToWire) };
      },
      async commit({ snapshotter, name, key, labels }, { namespace, lease }) {
        await find(snapshotter).commit(namespace, name, key, { labels, lease });
        return {};
      },
      async remove({ snapshotter, key }, { namespace }) {
        await find(snapshotter).remove(namespace, key);
        return {};
      },
      stat({ snapshotter, key }, { namespace }) {
        return { info: infoToWire(find(snapshotter).stat(namespace, key)) };
      },
      update({ snapshotter, info, updateMask }, { namespace }) {
        if (!info) throw new BerthError('invalid_argument', 'snapshot info is missing from the request');
        const updated = find(snapshotter).update(namespace, info.name, info.labels, updateMask?.paths);
        return { info: infoToWire(updated) };
      },
      async *list({ snapshotter, filters }, { namespace }) {
        const infos = find(snapshotter).list(namespace, filters).map(infoToWire);
        for (let at = 0; at < infos.length; at += infosPerMessage) {
          yield { info: infos.slice(at, at + infosPerMessage) };
        }
      },
      async usage({ snapshotter, key }, { namespace }) {
        return await find(snapshotter).usage(namespace, key);
      },
      async cleanup({ snapshotter }) {
        await find(snapshotter).cleanup();
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
