import { timestampNow } from '#common/timestamp.ts';
import type { Random } from '../../support/random.ts';
import { namespace } from './inputs.ts';
import { type Operations, operation } from './operation.ts';

function topic(random: Random): string {
  return random.mostly(
    ['/a', '/a/b', '/tasks/exit'],
    ['', '/', 'a', '/a/', '//a', '/a b', '/-', `/${'x'.repeat(77)}`],
    0.4,
  );
}

/** Never without a payload: containerd 1.6 dies of that. */
function event(random: Random) {
  const known = { type_url: 'containerd.events.NamespaceDelete', value: Buffer.from([0x0a, 1, 0x78]) };
  return random.pick([known, { type_url: 'unknown.Type', value: Buffer.from('?') }]);
}

export const eventOperations: Operations = {
  'events.publish': operation(
    3,
    (random) => ({ ns: namespace(random), topic: topic(random), event: event(random) }),
    (side, { topic, event, ...scope }) => side.clients.events.publish({ topic, event }, side.options(scope)),
  ),
  'events.forward': operation(
    3,
    (random) => ({
      ns: namespace(random),
      of: namespace(random),
      topic: topic(random),
      event: event(random),
      stamped: random.chance(0.9),
    }),
    (side, { of, topic, event, stamped, ...scope }) => {
      const timestamp = stamped ? timestampNow() : null;
      const envelope = { timestamp, namespace: side.namespace(of), topic, event };
      return side.clients.events.forward({ envelope }, side.options(scope));
    },
  ),
};
