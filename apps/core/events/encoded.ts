import { FramedMessage } from '#common/grpc/framed-message.ts';
import { encode } from '#common/wire/codec.ts';
import type { Envelope } from './events.ts';

const { prefixBytes } = FramedMessage;
const known = new WeakMap<Envelope, FramedMessage>();
const keep = (): void => undefined;

/** An event in the form it travels in and is written down: made for the first who asks, and kept as long as the event is. */
export function encoded(envelope: Envelope): FramedMessage {
  let message = known.get(envelope);
  if (message === undefined) {
    const bytes = encode('containerd.types.Envelope', envelope);
    const framed = Buffer.allocUnsafe(prefixBytes + bytes.length);
    bytes.copy(framed, prefixBytes);
    message = new FramedMessage(framed, keep);
    known.set(envelope, message);
  }
  return message;
}
