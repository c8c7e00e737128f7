import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { BerthError } from '#common/errors.ts';
import { implement } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import type { Envelope, EventPublisher, EventSubscriber } from './events.ts';

/** `containerd.services.events.v1.Events`. */
export function eventsService(exchange: EventPublisher & EventSubscriber, log: Logger) {
  const { Subscribe, ...others } = serviceDefinition('containerd.services.events.v1.Events') as Definition;
  return implement<EventsHandlers>(
    { ...others, Subscribe: { ...Subscribe, responseSerialize: encodedOnce(Subscribe.responseSerialize) } },
    {
      publish(request, context) {
        if (request.event === null) throw new BerthError('invalid_argument', 'event to publish is missing');
        exchange.publish(context.namespace, request.topic, request.event.type_url, request.event.value);
        return {};
      },
      forward(request) {
        exchange.forward(envelopeOf(request.envelope));
        return {};
      },
      subscribe(request, context) {
        return exchange.subscribe(request.filters, context.signal);
      },
    },
    { log },
  );
}

type Definition = ServiceDefinition & { readonly Subscribe: MethodDefinition<unknown, object> };

/** All subscribers get the same envelope: its bytes are made for the first of them and kept as long as it is. */
function encodedOnce(serialize: (envelope: object) => Buffer): (envelope: object) => Buffer {
  const known = new WeakMap<object, Buffer>();
  return (envelope) => {
    const bytes = known.get(envelope) ?? serialize(envelope);
    known.set(envelope, bytes);
    return bytes;
  };
}

/** @throws invalid_argument for what an envelope can't do without. */
export function envelopeOf(wire: Envelope__Output | null): Envelope {
  if (wire === null) throw new BerthError('invalid_argument', 'event envelope is missing');
  const { timestamp, namespace, topic, event } = wire;
  if (timestamp === null) throw new BerthError('invalid_argument', `event ${topic} to forward has no timestamp`);
  if (event === null) throw new BerthError('invalid_argument', `event ${topic} to forward has no payload`);
  return { timestamp, namespace, topic, event };
}
