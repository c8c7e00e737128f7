import type { Timestamp } from '#common/timestamp.ts';
import type { Any } from '#common/typeurl.ts';
import type { WireTypes } from '#proto/wire.ts';

/** One event on its way, in the shape of `containerd.types.Envelope`. Immutable: every subscriber gets the same object. */
export interface Envelope {
  /** When the event happened, set by its first publisher. */
  readonly timestamp: Timestamp;
  readonly namespace: string;
  /** `/tasks/exit` and the like: a slash before every component, components are identifiers. */
  readonly topic: string;
  /** Its type URL is the full protobuf name, e.g. `containerd.events.TaskExit`, without a host before it. */
  readonly event: Any;
}

/** What the parts of the daemon need in order to tell the world what they did. */
export interface EventPublisher {
  /**
   * Stamps the event with the present time and hands it to every matching subscriber. Never waits for one.
   * @throws invalid_argument for a malformed namespace or topic.
   */
  publish(namespace: string, topic: string, typeUrl: string, payload: Uint8Array): void;

  /** As `publish`, with the payload encoded from its message: `publishTyped(ns, '/tasks/exit', 'containerd.events.TaskExit', {…})`. */
  publishTyped<M extends keyof WireTypes>(namespace: string, topic: string, type: M, value: WireTypes[M]['in']): void;

  /**
   * Hands on an envelope that another publisher has stamped, e.g. a shim.
   * @throws invalid_argument for a malformed namespace or topic.
   */
  forward(envelope: Envelope): void;
}

/** One subscriber's events: to be read in one of two ways. */
export interface EventStream extends AsyncIterableIterator<Envelope> {
  /**
   * Calls `write` with each event, as soon as it is published where it can. Once `write` answers false, it waits for `room`
   * before the next. Resolves when the subscription ends quietly; rejects with the reason else, or with what was thrown.
   */
  pour(write: (envelope: Envelope) => boolean, room: () => Promise<void>): Promise<void>;
}

/** Where events are listened to. */
export interface EventSubscriber {
  /**
   * Every event from this call on that matches any of the filters (no filter: all), in the order of publication; shortly
   * after a restart of the daemon, exits of earlier tasks that the subscriber missed come first.
   * The subscription exists when the call returns, before the first `next()`. It ends quietly when `signal` aborts or
   * the iterator is returned. A subscriber that lags behind by more than the bounds gets `resource_exhausted`, and
   * what was queued for it is dropped: it has to subscribe again and look at the state anew.
   * @throws invalid_argument for a filter that doesn't parse.
   */
  subscribe(filters: readonly string[], signal?: AbortSignal): EventStream;
}

/** An event with the place behind it, or a place alone. */
export interface Followed {
  readonly cursor: string;
  readonly envelope?: Envelope;
}

/** Where events are listened to by those who come back. */
export interface EventFollower {
  /**
   * As {@link EventSubscriber.subscribe}, from the event behind the cursor `after` on; '' is now. The first item is a
   * place alone: it comes once the subscription exists.
   * @throws out_of_range when events behind `after` are no longer kept; invalid_argument for what is no cursor.
   */
  follow(filters: readonly string[], after: string, signal?: AbortSignal): AsyncIterableIterator<Followed>;
}
