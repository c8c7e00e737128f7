import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { services } from '#proto/services.ts';
import { BerthError } from '../errors.ts';
import { decode, encode, type MessageName } from '../wire/codec.ts';

/**
 * The definition of a service by its full name, e.g. `containerd.services.tasks.v1.Tasks`.
 * @throws BerthError `internal` for a name that proto/ doesn't hold
 */
export function serviceDefinition(name: string): ServiceDefinition {
  const methods = services[name];
  if (methods === undefined) throw new BerthError('internal', `no gRPC service "${name}" is defined in proto/`);
  return Object.fromEntries(
    methods.map(([method, request, response, requestStream, responseStream]) => [
      method,
      {
        path: `/${name}/${method}`,
        ...{ requestStream, responseStream },
        requestSerialize: encoder(request),
        requestDeserialize: decoder(request),
        responseSerialize: encoder(response),
        responseDeserialize: decoder(response),
      },
    ]),
  );
}

type Definition = MethodDefinition<unknown, unknown>;

// The tables of methods and messages come from the same files: each name here is one of a message.

/** Messages that are encoded already go out as they are. */
function encoder(name: string): Definition['responseSerialize'] {
  return (message) => (Buffer.isBuffer(message) ? message : encode(name as MessageName, message as never));
}

function decoder(name: string): Definition['requestDeserialize'] {
  return (bytes) => decode(name as MessageName, bytes);
}
