import { rm } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { handleTyped } from '#common/ttrpc/typed.ts';
import type { Envelope, EventPublisher } from './events.ts';
import { envelopeOf } from './service.ts';

/** The ttrpc socket that shims forward their events to. */
export interface ShimEndpoint {
  close(): Promise<void>;
}

export interface ShimEndpointOptions {
  /** By the shims' convention the gRPC address with `.ttrpc` behind it. */
  readonly socketPath: string;
  readonly exchange: EventPublisher;
  /**
   * Looks at an event before anybody else does. The shim gets its acknowledgement, and stops repeating the event, only
   * after that.
   */
  readonly observe: (envelope: Envelope) => Promise<void>;
  readonly log: Logger;
}

/** Serves `containerd.services.events.ttrpc.v1.Events`: one method, Forward. */
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
      await observe(envelope);
      exchange.forward(envelope);
      log.debug({ ns: envelope.namespace, topic: envelope.topic }, 'event of a shim');
      return {};
    },
  );
  await removeStale(options.socketPath);
  await server.listen(options.socketPath);
  return { close: async () => void (await server.close()) };
}

/** @throws failed_precondition when another daemon serves there. */
async function removeStale(socketPath: string): Promise<void> {
  let other: TtrpcClient;
  try {
    other = await TtrpcClient.connect(socketPath);
  } catch {
    await rm(socketPath, { force: true });
    return;
  }
  other.close();
  throw new BerthError('failed_precondition', `another daemon serves shims at ${socketPath}: stop it first`);
}
