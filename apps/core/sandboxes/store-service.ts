import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { StoreHandlers } from '#proto/containerd/services/sandbox/v1/Store.ts';
import type { SandboxStore } from './store.ts';
import { fromWire, toWire } from './wire.ts';

/** `containerd.services.sandbox.v1.Store`. */
export function sandboxStoreService(sandboxes: SandboxStore, log: Logger): Service {
  return implement<StoreHandlers>(
    serviceDefinition('containerd.services.sandbox.v1.Store'),
    {
      create({ sandbox }, { namespace }) {
        return { sandbox: toWire(sandboxes.create(namespace, fromWire(sandbox))) };
      },
      update({ sandbox, fields }, { namespace }) {
        return { sandbox: toWire(sandboxes.update(namespace, fromWire(sandbox), fields)) };
      },
      delete({ sandboxId }, { namespace }) {
        sandboxes.delete(namespace, sandboxId);
        return {};
      },
      list({ filters }, { namespace }) {
        return { list: sandboxes.list(namespace, filters).map(toWire) };
      },
      get({ sandboxId }, { namespace }) {
        return { sandbox: toWire(sandboxes.get(namespace, sandboxId)) };
      },
    },
    { log },
  );
}
