import type { HealthHandlers } from '#proto/grpc/health/v1/Health.ts';
import { BerthError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { implement, type Service } from './adapter.ts';
import { serviceDefinition } from './proto.ts';

/**
 * `grpc.health.v1.Health`. A daemon that answers is serving: it listens only when everything is up. It speaks for the
 * whole server, whose name is the empty text; of others it says what the protocol wants for unknown ones.
 */
export function healthService(log: Logger): Service {
  return implement<HealthHandlers>(
    serviceDefinition('grpc.health.v1.Health'),
    {
      check({ service }) {
        if (service !== '') throw new BerthError('not_found', `unknown service "${service}": ask for ""`);
        return { status: 'SERVING' };
      },
      async *watch({ service }, { signal }) {
        yield { status: service === '' ? 'SERVING' : 'SERVICE_UNKNOWN' };
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      },
    },
    { log },
  );
}
