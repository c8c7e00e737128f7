import { BerthError } from '#common/errors.ts';
import type { Lookup, LookupReply } from './apply-protocol.ts';
import type { LineChannel } from './line-channel.ts';
import type { LookupLower } from './lower.ts';

/** Asks berthd what the layers below have: a child with its own layer as its root sees none of them. */
export function lookupOver(channel: LineChannel): LookupLower {
  return (path) => {
    channel.send({ type: 'lookup', path } satisfies Lookup);
    const reply = channel.receive() as LookupReply | undefined;
    // Without berthd there is nobody left to do the work for.
    if (reply === undefined) process.exit(1);
    if ('error' in reply) throw new BerthError('internal', reply.error);
    return reply.entry;
  };
}
