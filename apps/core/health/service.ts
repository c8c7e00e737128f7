import { BerthError } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { HealthHandlers } from '#proto/grpc/health/v1/Health.ts';

/** `grpc.health.v1.Health`. A daemon that answers is serving: it listens only when everything is up. */
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
