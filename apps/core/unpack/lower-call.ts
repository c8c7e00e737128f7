import { BerthError } from '#common/errors.ts';
import type { LowerQuestion, LowerReply } from './apply-protocol.ts';
import type { LineChannel } from './line-channel.ts';
import type { LowerEntry, LowerLayers } from './lower.ts';

/** Asks berthd for what the layers below have: a child with its own layer as its root sees none of them. */
export function lowerLayersOver(channel: LineChannel): LowerLayers {
  const ask = (question: LowerQuestion): LowerEntry => {
    channel.send(question);
    const reply = channel.receive() as LowerReply | undefined;
    // Without berthd there is nobody left to do the work for.
    if (reply === undefined) process.exit(1);
    if ('error' in reply) throw new BerthError('internal', reply.error);
    return reply.entry;
  };
  return {
    lookup: (path) => ask({ type: 'lookup', path }),
    copy: (path) => {
      ask({ type: 'copy', path });
    },
  };
}
