import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampFromInstant } from '#common/timestamp.ts';
import { encode } from '#common/wire/codec.ts';
import { encodePages } from '#common/wire/pages.ts';
import type {
  Container__Output,
  Container as WireContainer,
} from '#proto/containerd/services/containers/v1/Container.ts';
import type { ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import { fromAny, fromAnys, toAny, toAnys } from '../metadata/typed-bytes.ts';
import type { Container, ContainerInput, ContainerStore } from './store.ts';

const getResponse = 'containerd.services.containers.v1.GetContainerResponse';
const listResponse = 'containerd.services.containers.v1.ListContainersResponse';

/** `containerd.services.containers.v1.Containers`. */
export function containersService(containers: ContainerStore, log: Logger): Service {
  const encoded = new WeakMap<Container, Buffer>();
  /**
   * A response with one container that is read again and again; undefined for others. All responses have it in field 1,
   * so that one's bytes are those of each.
   */
  const encodedOnce = (ns: string, container: Container): Buffer | undefined => {
    if (!containers.keeps(ns, container)) return undefined;
    return encoded.getOrInsertComputed(container, () => encode(getResponse, { container: toWire(container) }));
  };
  const answer = (ns: string, container: Container) => encodedOnce(ns, container) ?? { container: toWire(container) };
  return implement<ContainersHandlers>(
    serviceDefinition('containerd.services.containers.v1.Containers'),
    {
      get({ id }, { namespace }) {
        return answer(namespace, containers.get(namespace, id));
      },
      list({ filters }, { namespace }) {
        const each = containers
          .each(namespace, filters)
          .map((container) => encodedOnce(namespace, container) ?? container);
        return encodePages(listResponse, each, (page) => ({ containers: page.map(toWire) }));
      },
      *listStream({ filters }, { namespace }) {
        for (const container of containers.each(namespace, filters)) yield answer(namespace, container);
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
