import type { Container as CriContainer } from '#proto/runtime/v1/Container.ts';
import type { ContainerFilter__Output } from '#proto/runtime/v1/ContainerFilter.ts';
import { matchesLabels } from './label-selector.ts';
import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';

/** ListContainers, from memory. Ids in the filter may be cut short. */
export function listContainers(rt: Runtime, filter: ContainerFilter__Output | null): CriContainer[] {
  return rt.containers
    .values()
    .filter((container) => {
      if (filter === null) return true;
      const { metadata } = container;
      return (
        container.id.startsWith(filter.id) &&
        metadata.sandboxId.startsWith(filter.podSandboxId) &&
        (filter.state === null || filter.state.state === container.state) &&
        matchesLabels(metadata.config.labels, filter.labelSelector)
      );
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
