import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { AheadPlaces } from '../../../apps/core/unpack/ahead-places.ts';

/** Whether it has resolved by now. */
async function isThere(promise: Promise<unknown>): Promise<boolean> {
  return (await Promise.race([promise.then(() => true), sleep(10).then(() => false)])) === true;
}

const never = new Promise<void>(() => {});

it('lets as many begin before their turn as there are places, in the order they came', async () => {
  const places = new AheadPlaces(1);
  const first = await places.take(never);
  const second = places.take(never);
  const third = places.take(never);
  expect(await isThere(second)).toBe(false);
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  expect(await isThere(third)).toBe(true);
});

it('lets a layer begin without a place when its turn comes, or has come', async () => {
  const places = new AheadPlaces(1);
  await places.take(Promise.resolve());
  await places.take(Promise.reject(new Error('those below failed')));
  const turn = Promise.withResolvers<void>();
  const ahead = await places.take(never);
  const waiting = places.take(turn.promise);
  turn.resolve();
  (await waiting)[Symbol.dispose]();
  const next = places.take(never);
  expect(await isThere(next)).toBe(false);
  ahead[Symbol.dispose]();
  expect(await isThere(next)).toBe(true);
});

it('gives a place back once when its holder’s turn comes', async () => {
  const places = new AheadPlaces(1);
  const turn = Promise.withResolvers<void>();
  const held = await places.take(turn.promise);
  const second = places.take(never);
  turn.resolve();
  await second;
  held[Symbol.dispose]();
  expect(await isThere(places.take(never))).toBe(false);
});

it('begins layer by layer without any place', async () => {
  const places = new AheadPlaces(0);
  const turn = Promise.withResolvers<void>();
  const waiting = places.take(turn.promise);
  expect(await isThere(waiting)).toBe(false);
  turn.resolve();
  expect(await isThere(waiting)).toBe(true);
});
