import { BerthError } from '#common/errors.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import type { Envelope } from './events.ts';

/** @throws invalid_argument for what an envelope can't do without. */
export function envelopeOf(wire: Envelope__Output | null): Envelope {
  if (wire === null) throw new BerthError('invalid_argument', 'event envelope is missing');
  const { timestamp, namespace, topic, event } = wire;
  if (timestamp === null) throw new BerthError('invalid_argument', `event ${topic} to forward has no timestamp`);
  if (event === null) throw new BerthError('invalid_argument', `event ${topic} to forward has no payload`);
  return { timestamp, namespace, topic, event };
}
