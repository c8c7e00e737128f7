import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { BerthError } from '#common/errors.ts';
import { implement } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { EventsHandlers as FollowHandlers } from '#proto/berth/services/events/v1/Events.ts';
import type { EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import { envelopeOf } from './envelope.ts';
import type { EventFollower, EventPublisher, EventSubscriber } from './events.ts';

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

/** `berth.services.events.v1.Events`. */
export function followService(exchange: EventFollower, log: Logger) {
  return implement<FollowHandlers>(
    serviceDefinition('berth.services.events.v1.Events'),
    { follow: ({ filters, after }, { signal }) => exchange.follow(filters, after, signal) },
    { log },
  );
}

/** All subscribers get the same envelope: its bytes are made for the first of them and kept as long as it is. */
function encodedOnce(serialize: (envelope: object) => Buffer): (envelope: object) => Buffer {
  const known = new WeakMap<object, Buffer>();
  return (envelope) => {
    const bytes = known.get(envelope) ?? serialize(envelope);
    known.set(envelope, bytes);
    return bytes;
  };
}
