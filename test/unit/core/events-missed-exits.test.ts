import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { timestampNow } from '#common/timestamp.ts';
import { encode } from '#common/wire/codec.ts';
import { MissedExits } from '../../../apps/core/events/missed-exits.ts';

it('keeps exits for a while only', async () => {
  const missed = new MissedExits(20);
  const value = Buffer.from(encode('containerd.events.TaskExit', { containerId: 'old', id: 'old' }));
  const event = { type_url: 'containerd.events.TaskExit', value };
  const exit = { timestamp: timestampNow(), namespace: 'default', topic: '/tasks/exit', event };
  missed.note(exit);
  expect(missed.list()).toEqual([exit]);
  await sleep(40);
  expect(missed.list()).toEqual([]);
});
