import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeEach, expect, test } from 'vitest';
import type { Envelope } from '../../../apps/core/events/events.ts';
import { EventExchange } from '../../../apps/core/events/exchange.ts';
import { EventJournal } from '../../../apps/core/events/journal.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

const dir = scratchDir();
const directory = join(dir, 'events');
const failures: Error[] = [];

afterAll(() => removeScratch(dir));
beforeEach(() => {
  rmSync(directory, { recursive: true, force: true });
  failures.length = 0;
});

function open(segmentBytes = 1 << 20): EventJournal {
  return new EventJournal({ directory, segmentBytes, onFailure: (error) => failures.push(error) });
}

function event(number: number): Envelope {
  const timestamp = { seconds: String(number), nanos: 0 };
  return { timestamp, namespace: 'n', topic: '/t', event: { type_url: 't', value: Buffer.alloc(50, number) } };
}

const numbers = (events: readonly Envelope[]) => events.map(({ timestamp }) => Number(timestamp.seconds));

test('what comes after a cursor is found again, also by later daemons', () => {
  let journal = open();
  const start = journal.cursor;
  for (let number = 1; number <= 6; number++) {
    journal.append(event(number));
    if (number % 2 === 0) {
      journal.close();
      journal = open();
    }
  }
  expect(numbers(journal.after(start))).toEqual([1, 2, 3, 4, 5, 6]);
  const [, , third] = journal.after(start);
  expect(numbers(journal.after(journal.cursorOf(third as Envelope)))).toEqual([4, 5, 6]);
  expect(journal.after(journal.cursor)).toEqual([]);
  expect(failures).toEqual([]);
});

test('of many the newest are kept, in two segments; a cursor before them is out of range', () => {
  const journal = open(1000);
  const start = journal.cursor;
  let middle = '';
  for (let number = 1; number <= 100; number++) {
    journal.append(event(number));
    if (number === 95) middle = journal.cursor;
  }
  expect(() => journal.after(start)).toThrow(expect.objectContaining({ code: 'out_of_range' }));
  expect(numbers(journal.after(middle))).toEqual([96, 97, 98, 99, 100]);
  journal.close();
  expect(numbers(open(1000).after(middle))).toEqual([96, 97, 98, 99, 100]);
});

test('an event that was half written when the daemon was killed is left out, and written over', () => {
  const journal = open();
  const start = journal.cursor;
  journal.append(event(1));
  journal.close();
  appendFileSync(join(directory, 'newer'), Buffer.from([0, 0, 1, 0, 7, 7]));
  const next = open();
  next.append(event(2));
  next.close();
  expect(numbers(open().after(start))).toEqual([1, 2]);
});

test('an event is kept without the buffer it came in', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  const held = () => {
    collectGarbage();
    return process.memoryUsage().arrayBuffers;
  };
  const journal = open();
  const before = held();
  for (let number = 1; number <= 500; number++) {
    const { event: payload, ...rest } = event(number);
    journal.append({ ...rest, event: { ...payload, value: Buffer.alloc(64 << 10).subarray(0, 50) } });
  }
  // V8 frees buffers beside the collection, some time after it.
  await waitFor('the buffers to be freed', () => held() - before < 4 << 20);
});

test('without a place to write, events go on, and a later daemon takes none of its cursors', () => {
  mkdirSync(join(directory, 'next'), { recursive: true });
  const journal = open();
  expect(failures).toHaveLength(1);
  const start = journal.cursor;
  journal.append(event(1));
  expect(numbers(journal.after(start))).toEqual([1]);
  journal.close();
  expect(() => open().after(start)).toThrow(expect.objectContaining({ code: 'out_of_range' }));
});

test('a follower goes over from what it missed to what happens now', async () => {
  const exchange = new EventExchange({ journal: open() });
  const { value: start } = await exchange.follow([], '').next();
  exchange.forward(event(1));
  const following = exchange.follow([], start.cursor);
  await following.next();
  exchange.forward(event(2));
  const heard = [await following.next(), await following.next()].map(({ value }) => value.envelope);
  expect(numbers(heard)).toEqual([1, 2]);
});
