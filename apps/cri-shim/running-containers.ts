import type { Runtime } from './runtime.ts';
import type { Container } from './store/container.ts';

/** The containers that run, by the id of their pod: a list of all pods looks at each container once. */
export function runningByPod(rt: Runtime): ReadonlyMap<string, readonly Container[]> {
  const running = rt.containers.values().filter(({ state }) => state === 'CONTAINER_RUNNING');
  return Map.groupBy(running, ({ metadata }) => metadata.sandboxId);
}
