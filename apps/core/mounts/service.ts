import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { MountsHandlers } from '#proto/containerd/services/mounts/v1/Mounts.ts';

/**
 * `containerd.services.mounts.v1.Mounts`. Every mount that our snapshotters answer is one that the kernel takes as it is,
 * so there is nothing to activate: `unimplemented` tells a client to mount by itself, as containerd does for such
 * mounts. Hence no activation has a name, and none is listed.
 */
export function mountsService(log: Logger): Service {
  return implement<MountsHandlers>(
    serviceDefinition('containerd.services.mounts.v1.Mounts'),
    {
      activate({ name, mounts }) {
        const types = [...new Set(mounts.map(({ type }) => type))].join(', ');
        throw new BerthError(
          'unimplemented',
          `mounts of ${name} (${types}) are not activated here: mount them as they are`,
        );
      },
      deactivate({ name }) {
        throw noActivation(name);
      },
      info({ name }) {
        throw noActivation(name);
      },
      update({ info }) {
        throw noActivation(info?.name ?? '');
      },
      async *list() {},
    },
    { log },
  );
}

function noActivation(name: string): BerthError {
  return new BerthError('not_found', `mount "${name}" not found: nothing is activated here`);
}
