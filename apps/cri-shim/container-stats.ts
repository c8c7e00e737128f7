import type { ContainerStats } from '#proto/runtime/v1/ContainerStats.ts';
import type { ContainerStatsFilter__Output } from '#proto/runtime/v1/ContainerStatsFilter.ts';
import type { Runtime } from './runtime.ts';
import { selectsContainer } from './selection.ts';

/** ContainerStats. @throws not_found */
export async function containerStats(rt: Runtime, id: string): Promise<ContainerStats> {
  return await rt.stats.ofContainer(rt.containers.get(id));
}

/** ListContainerStats: of those that run. */
export async function listContainerStats(
  rt: Runtime,
  filter: ContainerStatsFilter__Output | null,
): Promise<ContainerStats[]> {
  const asked = rt.containers.values().filter((container) => {
    return container.state === 'CONTAINER_RUNNING' && selectsContainer(filter, container);
  });
  return await Promise.all(asked.map((container) => rt.stats.ofContainer(container)));
}
