import { BerthError } from '#common/errors.ts';
import { parseFilters } from '#common/filters/filter.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import { timestampNow } from '#common/timestamp.ts';
import { encode } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import { eventField } from './event-fields.ts';
import type { Envelope, EventFollower, EventPublisher, EventStream, EventSubscriber, Followed } from './events.ts';
import type { EventJournal } from './journal.ts';
import { MissedExits } from './missed-exits.ts';
import { type QueueLimits, Subscription } from './subscription.ts';
import { validateTopic } from './topic.ts';

export type { Envelope, EventPublisher, EventSubscriber } from './events.ts';

/** What a subscriber may lag behind: some 50 pods starting at once, many times over, at about 300 bytes each. */
const QUEUE_EVENTS = 16_384;
/** Clients may publish events of up to 16 MiB. */
const QUEUE_BYTES = 32 << 20;

/** The daemon's events, from every publisher to every subscriber, in the order they were published. What was missed is told by the journal, and MissedExits. */
export class EventExchange implements EventPublisher, EventSubscriber, EventFollower {
  readonly #subscriptions = new Set<Subscription>();
  readonly #limits: QueueLimits;
  readonly #missedExits = new MissedExits();
  readonly #journal: EventJournal | undefined;

  constructor(options: { queueLimit?: number; queueBytes?: number; journal?: EventJournal } = {}) {
    this.#journal = options.journal;
    this.#limits = { events: options.queueLimit ?? QUEUE_EVENTS, bytes: options.queueBytes ?? QUEUE_BYTES };
  }

  publish(namespace: string, topic: string, typeUrl: string, payload: Uint8Array): void {
    this.forward({ timestamp: timestampNow(), namespace, topic, event: { type_url: typeUrl, value: payload } });
  }

  publishTyped<M extends keyof WireTypes>(namespace: string, topic: string, type: M, value: WireTypes[M]['in']): void {
    this.publish(namespace, topic, type, encode(type, value));
  }

  forward(envelope: Envelope): void {
    validateIdentifier(envelope.namespace, 'namespace of an event');
    validateTopic(envelope.topic);
    this.#missedExits.note(envelope);
    this.#journal?.append(envelope);
    for (const subscription of this.#subscriptions) subscription.offer(envelope);
  }

  subscribe(filters: readonly string[], signal?: AbortSignal): EventStream {
    const subscription = this.#subscribe(matcher(filters), signal);
    for (const envelope of this.#missedExits.list()) subscription.offer(envelope);
    return subscription;
  }

  async *follow(filters: readonly string[], after: string, signal?: AbortSignal): AsyncGenerator<Followed> {
    const journal = this.#journal;
    if (journal === undefined) throw new BerthError('unimplemented', 'this daemon keeps no journal of events');
    const matches = matcher(filters);
    const cursor = after === '' ? journal.cursor : after;
    const missed = after === '' ? [] : journal.after(after);
    using subscription = this.#subscribe(matches, signal);
    yield { cursor };
    for (const envelope of missed) if (matches(envelope)) yield { cursor: journal.cursorOf(envelope), envelope };
    for await (const envelope of subscription) yield { cursor: journal.cursorOf(envelope), envelope };
  }

  #subscribe(matches: (envelope: Envelope) => boolean, signal: AbortSignal | undefined): Subscription {
    const onAbort = () => subscription.end();
    const subscription = new Subscription(matches, this.#limits, (self) => {
      this.#subscriptions.delete(self);
      signal?.removeEventListener('abort', onAbort);
    });
    this.#subscriptions.add(subscription);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) subscription.end();
    return subscription;
  }

  /** Ends every subscription with `reason`: the daemon stops. */
  close(reason: BerthError): void {
    for (const subscription of [...this.#subscriptions]) subscription.end(reason);
  }
}

function matcher(filters: readonly string[]): (envelope: Envelope) => boolean {
  if (filters.length === 0) return () => true;
  const filter = parseFilters(filters);
  return (envelope) => filter((path) => eventField(envelope, path));
}
