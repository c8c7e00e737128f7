import type { WireTypes } from '#proto/wire.ts';
import { decode, encode, type MessageName } from '../wire/codec.ts';
import type { CallOptions, TtrpcClient } from './client.ts';
import type { CallContext, TtrpcServer } from './server.ts';

/** A method as a function of typed messages. */
export function unary<Q extends MessageName, S extends MessageName>(
  client: TtrpcClient,
  service: string,
  method: string,
  requestType: Q,
  responseType: S,
): (request: WireTypes[Q]['in'], options?: CallOptions) => Promise<WireTypes[S]['out']> {
  return async (request, options) =>
    decode(responseType, await client.call(service, method, encode(requestType, request), options));
}

/** Serves a method with a handler of typed messages. */
export function handleTyped<Q extends MessageName, S extends MessageName>(
  server: TtrpcServer,
  service: string,
  method: string,
  requestType: Q,
  responseType: S,
  handler: (request: WireTypes[Q]['out'], context: CallContext) => Promise<WireTypes[S]['in']> | WireTypes[S]['in'],
): void {
  server.handle(service, method, async (payload, context) =>
    encode(responseType, await handler(decode(requestType, payload), context)),
  );
}
