import type { Logger } from '../log.ts';
import type { MetricsAddress } from './metrics-address.ts';
import type { MetricsRegistry } from './metrics-registry.ts';

/**
 * Serves a daemon's metrics where an address is configured. The libraries are loaded only then: they take memory.
 *
 * @param fill adds the daemon's own metrics
 */
export async function serveMetrics(
  address: MetricsAddress | undefined,
  daemon: string,
  log: Logger,
  fill: (registry: MetricsRegistry) => void,
): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  if (address !== undefined) {
    const [{ MetricsRegistry: Registry }, { MetricsServer }] = await Promise.all([
      import('./metrics-registry.ts'),
      import('./metrics-server.ts'),
    ]);
    const registry = started.use(new Registry(daemon));
    fill(registry);
    started.use(await MetricsServer.start(address, registry, log));
  }
  return started.move();
}
