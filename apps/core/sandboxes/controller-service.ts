import { BerthError, isCode } from '#common/errors.ts';
import { implement, type Service } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { ControllerHandlers } from '#proto/containerd/services/sandbox/v1/Controller.ts';
import type { EventPublisher } from '../events/events.ts';
import type { ShimSandboxes } from './shim-sandboxes.ts';
import type { SandboxStore } from './store.ts';
import { fromWire } from './wire.ts';

export interface SandboxControllerParts {
  readonly sandboxes: ShimSandboxes;
  readonly records: Pick<SandboxStore, 'get'>;
  readonly events: EventPublisher;
  readonly log: Logger;
}

/**
 * `containerd.services.sandbox.v1.Controller`, with one kind of sandboxer: `shim`. As with containerd, a sandbox that
 * isn't running has a status, and stopping it succeeds.
 */
export function sandboxControllerService({ sandboxes, records, events, log }: SandboxControllerParts): Service {
  return implement<ControllerHandlers>(
    serviceDefinition('containerd.services.sandbox.v1.Controller'),
    {
      async create(request, { namespace, signal }) {
        requireShim(request.sandboxer);
        const { sandboxId, rootfs, options, netnsPath, annotations } = request;
        // Clients before containerd 2.0 send the id alone.
        const sandbox = request.sandbox === null ? records.get(namespace, sandboxId) : fromWire(request.sandbox);
        if (sandbox.id !== sandboxId) {
          throw new BerthError('invalid_argument', `sandbox id "${sandboxId}" is not that of sandbox "${sandbox.id}"`);
        }
        await sandboxes.create(namespace, sandbox, { rootfs, options, netnsPath, annotations }, signal);
        events.publishTyped(namespace, '/sandboxes/create', 'containerd.events.SandboxCreate', { sandboxId });
        return { sandboxId };
      },

      async start({ sandboxId, sandboxer }, { namespace, signal }) {
        requireShim(sandboxer);
        const { pid, createdAt } = await sandboxes.start(namespace, sandboxId, signal);
        events.publishTyped(namespace, '/sandboxes/start', 'containerd.events.SandboxStart', { sandboxId });
        return { sandboxId, pid, createdAt };
      },

      async platform({ sandboxId, sandboxer }, { namespace, signal }) {
        requireShim(sandboxer);
        return await sandboxes.platform(namespace, sandboxId, signal);
      },

      async stop({ sandboxId, sandboxer, timeoutSecs }, { namespace, signal }) {
        requireShim(sandboxer);
        await sandboxes.stop(namespace, sandboxId, timeoutSecs, signal);
        return {};
      },

      async wait({ sandboxId, sandboxer }, { namespace, signal }) {
        requireShim(sandboxer);
        const exit = await sandboxes.wait(namespace, sandboxId, signal);
        events.publishTyped(namespace, '/sandboxes/exit', 'containerd.events.SandboxExit', { sandboxId, ...exit });
        return exit;
      },

      async status({ sandboxId, sandboxer, verbose }, { namespace, signal }) {
        requireShim(sandboxer);
        try {
          return await sandboxes.status(namespace, sandboxId, verbose, signal);
        } catch (error) {
          if (!isCode(error, 'not_found')) throw error;
          return { sandboxId, exitedAt: timestampNow() };
        }
      },

      async shutdown({ sandboxId, sandboxer }, { namespace }) {
        requireShim(sandboxer);
        await sandboxes.shutdown(namespace, sandboxId);
        return {};
      },

      async metrics({ sandboxId, sandboxer }, { namespace, signal }) {
        requireShim(sandboxer);
        return await sandboxes.metrics(namespace, sandboxId, signal);
      },

      // The sandbox API of shims has no update: containerd's controller accepts it and does nothing.
      update({ sandbox, sandboxer }) {
        requireShim(sandboxer);
        fromWire(sandbox);
        return {};
      },
    },
    { log },
  );
}

/** @throws invalid_argument, not_found for any other kind of sandboxer. */
function requireShim(sandboxer: string): void {
  switch (sandboxer) {
    case 'shim':
      return;
    case '':
      throw new BerthError('invalid_argument', 'sandbox controller name can not be empty');
    case 'podsandbox':
      throw new BerthError(
        'not_found',
        'failed to get sandbox controller by podsandbox: that one is part of the CRI of containerd; here is shim',
      );
    default:
      throw new BerthError('not_found', `failed to get sandbox controller by ${sandboxer}: there is shim`);
  }
}
