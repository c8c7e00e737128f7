import { EventEmitter, on } from 'node:events';
import type { HealthHandlers } from '#proto/grpc/health/v1/Health.ts';
import { BerthError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { implement, type Service } from './adapter.ts';
import { serviceDefinition } from './proto.ts';

type Status = 'SERVING' | 'NOT_SERVING';

/**
 * The standard health service, grpc.health.v1. The empty name stands for the whole server; a service nobody has set
 * a status for is NOT_FOUND to Check and SERVICE_UNKNOWN to Watch, as the protocol wants.
 */
export class Health {
  readonly #statuses = new Map<string, Status>();
  readonly #changes = new EventEmitter().setMaxListeners(0);

  set(status: Status, service = ''): void {
    if (this.#statuses.get(service) === status) return;
    this.#statuses.set(service, status);
    this.#changes.emit(`change:${service}`);
  }

  service(log: Logger): Service {
    return implement<HealthHandlers>(
      serviceDefinition('grpc.health.v1.Health'),
      {
        check: ({ service }) => {
          const status = this.#statuses.get(service);
          if (status === undefined) throw new BerthError('not_found', `unknown service "${service}"`);
          return { status };
        },
        watch: ({ service }, ctx) => this.#watch(service, ctx.signal),
      },
      { log },
    );
  }

  async *#watch(service: string, signal: AbortSignal): AsyncGenerator<{ status: Status | 'SERVICE_UNKNOWN' }> {
    // Listening begins before the first answer, so that no change falls between.
    const changes = on(this.#changes, `change:${service}`, { signal });
    let sent: Status | 'SERVICE_UNKNOWN' = this.#statuses.get(service) ?? 'SERVICE_UNKNOWN';
    yield { status: sent };
    for await (const _ of changes) {
      const status: Status | 'SERVICE_UNKNOWN' = this.#statuses.get(service) ?? 'SERVICE_UNKNOWN';
      if (status === sent) continue;
      sent = status;
      yield { status };
    }
  }
}
