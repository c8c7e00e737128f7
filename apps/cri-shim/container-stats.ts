import type { ContainerStats } from '#proto/runtime/v1/ContainerStats.ts';
import type { ContainerStatsFilter__Output } from '#proto/runtime/v1/ContainerStatsFilter.ts';
import { matchesLabels } from './label-selector.ts';
import type { Runtime } from './runtime.ts';

/** ContainerStats. @throws not_found */
export async function containerStats(rt: Runtime, id: string): Promise<ContainerStats> {
  return await rt.stats.ofContainer(rt.containers.get(id));
}

/** ListContainerStats: of those that run. Ids in the filter may be cut short. */
export async function listContainerStats(
  rt: Runtime,
  filter: ContainerStatsFilter__Output | null,
): Promise<ContainerStats[]> {
  rt.stats.keep((id) => rt.containers.has(id) || rt.sandboxes.has(id));
  const asked = rt.containers.values().filter(({ id, state, metadata }) => {
    if (state !== 'CONTAINER_RUNNING') return false;
    if (filter === null) return true;
    return (
      id.startsWith(filter.id) &&
      metadata.sandboxId.startsWith(filter.podSandboxId) &&
      matchesLabels(metadata.config.labels, filter.labelSelector)
    );
  });
  return await Promise.all(asked.map((container) => rt.stats.ofContainer(container)));
}
