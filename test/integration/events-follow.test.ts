import { expect, test } from 'vitest';
import { connect } from '#common/grpc/client.ts';
import type { EventsDefinition, EventsHandlers } from '#proto/berth/services/events/v1/Events.ts';
import type { FollowResponse__Output } from '#proto/berth/services/events/v1/FollowResponse.ts';
import { useBerthd } from '../support/berthd-suite.ts';

const suite = useBerthd();
const filters = ['topic~="^/test/"'];

async function publish(...names: readonly string[]): Promise<void> {
  for (const name of names) {
    const event = { type_url: 'test.Event', value: Buffer.from(name) };
    await suite.clients.events.publish({ topic: `/test/${name}`, event }, { waitForReady: true });
  }
}

/** Follows from a cursor until so many events have come. */
async function follow(after: string, count: number): Promise<readonly FollowResponse__Output[]> {
  using channel = connect(suite.berthd.socket);
  const events = channel.client<EventsHandlers, EventsDefinition>('berth.services.events.v1.Events');
  const answers: FollowResponse__Output[] = [];
  for await (const answer of events.follow({ filters, after }, { waitForReady: true })) {
    answers.push(answer);
    if (answers.length > count) break;
  }
  return answers;
}

const topics = (answers: readonly FollowResponse__Output[]) => answers.map(({ envelope }) => envelope?.topic ?? '');

test('a follower that comes back hears what it missed, each event once and in order, also after kill -9', async () => {
  const [start] = await follow('', 0);
  expect(start?.envelope).toBeNull();
  await publish('one', 'two', 'three');
  const heard = await follow(start?.cursor ?? '', 2);
  expect(topics(heard)).toEqual(['', '/test/one', '/test/two']);
  await suite.berthd.daemon.restartAfterKill9();
  await publish('four');
  const rest = await follow(heard.at(-1)?.cursor ?? '', 2);
  expect(topics(rest)).toEqual(['', '/test/three', '/test/four']);
  expect(new Set([...heard, ...rest.slice(1)].map(({ cursor }) => cursor)).size).toBe(5);
});

test('a place that is no more is told as such, and what is no place too', async () => {
  await expect(follow(`${'0'.repeat(16)}-1`, 1)).rejects.toMatchObject({ code: 'out_of_range' });
  await expect(follow('yesterday', 1)).rejects.toMatchObject({ code: 'invalid_argument' });
});
