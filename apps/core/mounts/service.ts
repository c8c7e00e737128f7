import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { FsMount } from '#common/mount.ts';
import { timestampFromNs } from '#common/timestamp.ts';
import type { MountsHandlers } from '#proto/containerd/services/mounts/v1/Mounts.ts';
import type { ActivationInfo } from '#proto/containerd/types/ActivationInfo.ts';
import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { Activation } from './activation.ts';
import type { MountManager } from './mount-manager.ts';

/** `containerd.services.mounts.v1.Mounts` */
export function mountsService(manager: MountManager, log: Logger): Service {
  return implement<MountsHandlers>(
    serviceDefinition('containerd.services.mounts.v1.Mounts'),
    {
      async activate({ name, mounts, labels, temporary }, { namespace: ns, lease }) {
        return { info: infoToWire(await manager.activate({ ns, name, mounts, labels, temporary, lease })) };
      },
      async deactivate({ name }, { namespace }) {
        await manager.deactivate(namespace, name);
        return {};
      },
      info({ name }, { namespace }) {
        return { info: infoToWire(manager.info(namespace, name)) };
      },
      async update({ info, updateMask }, { namespace }) {
        if (!info) throw new BerthError('invalid_argument', 'mount info is missing from the request');
        return { info: infoToWire(await manager.update(namespace, info.name, info.labels, updateMask?.paths)) };
      },
      async *list({ filters }, { namespace }) {
        for (const activation of manager.list(namespace, filters)) yield { info: infoToWire(activation) };
      },
    },
    { log },
  );
}

function infoToWire({ name, active, system, labels }: Activation): ActivationInfo {
  return {
    name,
    labels: { ...labels },
    system: system.map(mountToWire),
    active: active.map(({ mount, mountPoint, mountedAt }) => ({
      mount: mountToWire(mount),
      mountPoint,
      mountedAt: timestampFromNs(BigInt(mountedAt)),
    })),
  };
}

function mountToWire({ options, ...mount }: FsMount): WireMount {
  return { ...mount, options: [...options] };
}
