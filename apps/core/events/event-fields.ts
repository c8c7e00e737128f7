import { decode } from '#common/wire/codec.ts';
import { messages, type WireTypes } from '#proto/wire.ts';
import type { Envelope } from './events.ts';

/**
 * The value that a filter sees under a field path of an envelope: `topic`, `namespace`, or `event.<field>` with the
 * payload's field by its name in the .proto file, nested messages and map keys behind further dots.
 * undefined where there is none; an empty string counts as none, as in proto3.
 */
export function eventField(envelope: Envelope, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'namespace':
      return envelope.namespace || undefined;
    case 'topic':
      return envelope.topic || undefined;
    case 'event':
      return payloadField(payloadOf(envelope), path.slice(1));
    default:
      return undefined;
  }
}

/** One decoding per envelope, however many subscribers look into it. */
const decoded = new WeakMap<Envelope, unknown>();

function payloadOf(envelope: Envelope): unknown {
  if (decoded.has(envelope)) return decoded.get(envelope);
  let payload: unknown;
  if (Object.hasOwn(messages, envelope.event.type_url)) {
    try {
      payload = decode(envelope.event.type_url as keyof WireTypes, envelope.event.value);
    } catch {
      // A payload that isn't what its URL says has no fields; whoever subscribes to everything still gets it as it is.
      payload = undefined;
    }
  }
  decoded.set(envelope, payload);
  return payload;
}

function payloadField(value: unknown, path: readonly string[]): string | undefined {
  if (value === null || value === undefined) return undefined;
  const [head, ...rest] = path;
  if (head === undefined) return typeof value === 'object' ? undefined : String(value) || undefined;
  if (typeof value !== 'object') return undefined;
  const record = value as Record<string, unknown>;
  const whole = path.join('.');
  // A map's key may contain dots itself: what is left of the path is the key (`event.labels.a.b/c`).
  if (Object.hasOwn(record, whole)) return payloadField(record[whole], []);
  const name = head.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return Object.hasOwn(record, name) ? payloadField(record[name], rest) : undefined;
}
