import type { Container as CriContainer } from '#proto/runtime/v1/Container.ts';
import type { ContainerFilter__Output } from '#proto/runtime/v1/ContainerFilter.ts';
import type { Runtime } from './runtime.ts';
import { selectsContainer } from './selection.ts';
import type { Container } from './store/container.ts';

/** ListContainers, from memory. Ids in the filter may be cut short. */
export function listContainers(rt: Runtime, filter: ContainerFilter__Output | null): CriContainer[] {
  return rt.containers
    .values()
    .filter((container) => {
      const state = filter?.state ?? null;
      return (state === null || state.state === container.state) && selectsContainer(filter, container);
    })
    .map(describe);
}

function describe(container: Container): CriContainer {
  const { metadata } = container;
  return {
    id: container.id,
    podSandboxId: metadata.sandboxId,
    metadata: metadata.config.metadata,
    image: metadata.config.image,
    imageRef: metadata.imageRef,
    imageId: metadata.imageId,
    state: container.state,
    createdAt: metadata.createdAt,
    labels: metadata.config.labels,
    annotations: metadata.config.annotations,
  };
}
