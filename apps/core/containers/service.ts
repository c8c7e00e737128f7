import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import { encodePages } from '#common/wire/pages.ts';
import type {
  Container__Output,
  Container as WireContainer,
} from '#proto/containerd/services/containers/v1/Container.ts';
import type { ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import { fromAny, fromAnys, toAny, toAnys } from '../metadata/typed-bytes.ts';
import type { Container, ContainerInput, ContainerStore } from './store.ts';

const listResponse = 'containerd.services.containers.v1.ListContainersResponse';

/** `containerd.services.containers.v1.Containers`. */
export function containersService(containers: ContainerStore, log: Logger): Service {
  return implement<ContainersHandlers>(
    serviceDefinition('containerd.services.containers.v1.Containers'),
    {
      get({ id }, { namespace }) {
        return { container: toWire(containers.get(namespace, id)) };
      },
      list({ filters }, { namespace }) {
        return encodePages(listResponse, containers.each(namespace, filters), (page) => ({
          containers: page.map(toWire),
        }));
      },
      *listStream({ filters }, { namespace }) {
        for (const container of containers.each(namespace, filters)) yield { container: toWire(container) };
      },
      create({ container }, { namespace }) {
        return { container: toWire(containers.create(namespace, fromWire(container))) };
      },
      update({ container, updateMask }, { namespace }) {
        return { container: toWire(containers.update(namespace, fromWire(container), updateMask?.paths)) };
      },
      delete({ id }, { namespace }) {
        containers.delete(namespace, id);
        return {};
      },
    },
    { log },
  );
}

function toWire(container: Container): WireContainer {
  const { id, labels, image, runtime, snapshotter, snapshotKey, sandbox } = container;
  return {
    id,
    labels,
    image,
    snapshotter,
    snapshotKey,
    sandbox,
    runtime: { name: runtime.name, options: runtime.options ? toAny(runtime.options) : null },
    spec: container.spec ? toAny(container.spec) : null,
    extensions: toAnys(container.extensions),
    createdAt: timestampFromInstant(container.createdAt),
    updatedAt: timestampFromInstant(container.updatedAt),
  };
}

function fromWire(container: Container__Output | null): ContainerInput {
  if (!container) throw new BerthError('invalid_argument', 'container is missing from the request');
  const { id, labels, image, runtime, spec, snapshotter, snapshotKey, sandbox, extensions } = container;
  return {
    id,
    labels,
    image,
    snapshotter,
    snapshotKey,
    sandbox,
    runtime: { name: runtime?.name ?? '', options: fromAny(runtime?.options) },
    spec: fromAny(spec),
    extensions: fromAnys(extensions),
  };
}
