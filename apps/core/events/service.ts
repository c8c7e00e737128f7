import { BerthError } from '#common/errors.ts';
import { implement } from '#common/grpc/adapter.ts';
import { serviceDefinition } from '#common/grpc/proto.ts';
import type { Logger } from '#common/log.ts';
import type { EventsHandlers as FollowHandlers } from '#proto/berth/services/events/v1/Events.ts';
import type { EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import { encoded } from './encoded.ts';
import { envelopeOf } from './envelope.ts';
import type { EventFollower, EventPublisher, EventSubscriber } from './events.ts';

/** `containerd.services.events.v1.Events`. */
export function eventsService(exchange: EventPublisher & EventSubscriber, log: Logger) {
  return implement<EventsHandlers>(
    serviceDefinition('containerd.services.events.v1.Events'),
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
        const subscription = exchange.subscribe(request.filters, context.signal);
        return { pour: (write, room) => subscription.pour((envelope) => write(encoded(envelope)), room) };
      },
    },
    { log },
  );
}

/** `berth.services.events.v1.Events`. */
export function followService(exchange: EventFollower, log: Logger) {
  return implement<FollowHandlers>(
    serviceDefinition('berth.services.events.v1.Events'),
    { follow: ({ filters, after }, { signal }) => exchange.follow(filters, after, signal) },
    { log },
  );
}
