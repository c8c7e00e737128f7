import type { Logger } from '../log.ts';
import { install } from './tracing.ts';
import type { TracingConfig } from './tracing-config.ts';

/** Has a daemon trace where an endpoint is configured. The libraries are loaded only then. Disposing sends what is left. */
export async function startTracing(config: TracingConfig, service: string, log: Logger): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  if (config.endpoint !== '') {
    const { OpenTelemetry } = await import('./open-telemetry.ts');
    const telemetry = started.use(new OpenTelemetry(config, service, log));
    started.use(install(telemetry));
  }
  return started.move();
}
