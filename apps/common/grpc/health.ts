import type { HealthHandlers } from '#proto/grpc/health/v1/Health.ts';
import { BerthError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { implement, type Service } from './adapter.ts';
import { serviceDefinition } from './proto.ts';

/** A part of a daemon that comes up after the daemon itself. */
export interface LatePart {
  readonly isReady: boolean;
  /** Resolves when it is. */
  readonly ready: Promise<void>;
}

/**
 * `grpc.health.v1.Health`. A daemon that answers is serving: it listens only when everything is up, but for its late
 * parts, which are asked for by name. The whole server's name is the empty text; of others it says what the protocol
 * wants for unknown ones.
 */
export function healthService(log: Logger, lateParts: Readonly<Record<string, LatePart>> = {}): Service {
  const statusOf = (service: string) => {
    if (service === '') return 'SERVING';
    const part = Object.hasOwn(lateParts, service) ? lateParts[service] : undefined;
    if (part === undefined) return 'SERVICE_UNKNOWN';
    return part.isReady ? 'SERVING' : 'NOT_SERVING';
  };
  return implement<HealthHandlers>(
    serviceDefinition('grpc.health.v1.Health'),
    {
      check({ service }) {
        const status = statusOf(service);
        if (status !== 'SERVICE_UNKNOWN') return { status };
        throw new BerthError('not_found', `unknown service "${service}": ask for ""`);
      },
      async *watch({ service }, { signal }) {
        const aborted = new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve(), { once: true }),
        );
        const status = statusOf(service);
        yield { status };
        if (status === 'NOT_SERVING') {
          await Promise.race([lateParts[service]?.ready, aborted]);
          yield { status: statusOf(service) };
        }
        await aborted;
      },
    },
    { log },
  );
}
