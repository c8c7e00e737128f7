import { bindSocket } from '#common/grpc/socket.ts';
import type { Logger } from '#common/log.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { handleTyped } from '#common/ttrpc/typed.ts';
import { envelopeOf } from './envelope.ts';
import type { Envelope, EventPublisher } from './events.ts';

/** The ttrpc socket that shims forward their events to. */
export interface ShimEndpoint {
  close(): Promise<void>;
}

export interface ShimEndpointOptions {
  /** By the shims' convention the gRPC address with `.ttrpc` behind it. */
  readonly socketPath: string;
  readonly exchange: EventPublisher;
  /**
   * Looks at an event before anybody else does; false for one that isn't to be handed on. The shim gets its
   * acknowledgement, and stops repeating the event, only after that.
   */
  readonly observe: (envelope: Envelope) => Promise<boolean>;
  readonly log: Logger;
}

/**
 * Serves `containerd.services.events.ttrpc.v1.Events`: one method, Forward.
 * @throws already_exists when another daemon serves there.
 */
export async function serveShimEndpoint(options: ShimEndpointOptions): Promise<ShimEndpoint> {
  const { exchange, observe, log } = options;
  const server = new TtrpcServer();
  handleTyped(
    server,
    'containerd.services.events.ttrpc.v1.Events',
    'Forward',
    'containerd.services.events.ttrpc.v1.ForwardRequest',
    'google.protobuf.Empty',
    async (request) => {
      const envelope = envelopeOf(request.envelope);
      const isNews = await observe(envelope);
      if (isNews) exchange.forward(envelope);
      log.debug({ ns: envelope.namespace, topic: envelope.topic, isNews }, 'event of a shim');
      return {};
    },
  );
  const socket = await bindSocket(options.socketPath, 0o600, (path) => server.listen(path));
  return {
    async close() {
      await server.close();
      await socket[Symbol.asyncDispose]();
    },
  };
}
