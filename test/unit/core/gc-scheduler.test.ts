import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Collected } from '../../../apps/core/gc/collector.ts';
import { defaultSchedule, type Schedule, Scheduler } from '../../../apps/core/gc/scheduler.ts';

const nothing = { images: 0, blobs: 0, snapshots: 0, ingests: 0, leases: 0, bytes: 0, nextExpiry: undefined };

/** What the fake collector does next, and the times, from the start on, at which it was asked. */
let pauseMs: number;
let next: () => Promise<Partial<Collected>>;
let times: number[];
let reported: unknown[];
let begin: number;
let scheduler: Scheduler;

beforeEach(() => {
  vi.useFakeTimers();
  begin = Date.now();
  [pauseMs, times, reported] = [20, [], []];
  next = async () => ({});
});
afterEach(async () => {
  await scheduler.stop();
  vi.useRealTimers();
});

function schedule(change: Partial<Schedule> = {}): void {
  const collector = {
    async collect() {
      times.push(Date.now() - begin);
      return { ...nothing, pauseMs, ...(await next()) };
    },
    settled: async () => {},
  };
  const onCollected = (result: unknown): void => void reported.push(result);
  scheduler = new Scheduler({ ...defaultSchedule, ...change }, { collector, onCollected });
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('the schedule of collections', () => {
  it('begins after the startup delay, and then sleeps while nothing happens', async () => {
    schedule();
    scheduler.deleted();
    await pass(1000);
    scheduler.start();
    await pass(99);
    expect(times).toEqual([]);
    await pass(3_600_000);
    expect(times).toEqual([1100]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('waits for something to happen when there is no startup delay', async () => {
    schedule({ startupDelay: 0, scheduleDelay: 30 });
    scheduler.start();
    await pass(5000);
    scheduler.deleted();
    await pass(5000);
    expect(times).toEqual([5030]);
  });

  it('collects after deletions as often as the pause threshold allows: 20 ms of a second', async () => {
    schedule();
    scheduler.start();
    await pass(100);
    for (let i = 0; i < 6; i++) {
      scheduler.deleted();
      await pass(500);
    }
    expect(times).toEqual([100, 1080, 2060, 3040]);
  });

  it('counts a collection as 5 ms at least, and takes half of the time at most', async () => {
    pauseMs = 0;
    schedule({ pauseThreshold: 2 });
    scheduler.start();
    await pass(100);
    scheduler.deleted();
    await pass(4);
    expect(times).toEqual([100]);
    await pass(1);
    expect(times).toEqual([100, 105]);
  });

  it('collects after so many changes without a deletion, not after fewer', async () => {
    schedule({ mutationThreshold: 3 });
    scheduler.start();
    await pass(100);
    scheduler.mutated();
    scheduler.mutated();
    await pass(10_000);
    expect(times).toEqual([100]);
    scheduler.mutated();
    await pass(1000);
    expect(times).toHaveLength(2);
  });

  it('never collects for changes alone when the threshold is 0', async () => {
    schedule({ mutationThreshold: 0 });
    scheduler.start();
    await pass(100);
    for (let i = 0; i < 1000; i++) scheduler.mutated();
    await pass(100_000);
    expect(times).toEqual([100]);
  });

  it('collects at once after so many deletions, but for the delay', async () => {
    schedule({ deletionThreshold: 3, scheduleDelay: 10 });
    scheduler.start();
    await pass(100);
    scheduler.deleted();
    scheduler.deleted();
    await pass(100);
    scheduler.deleted();
    await pass(10);
    expect(times).toEqual([100, 210]);
  });

  it('collects at once when someone waits, once for all who ask before it begins', async () => {
    schedule({ scheduleDelay: 50 });
    scheduler.start();
    await pass(100);
    next = async () => ({ blobs: 7 });
    const waiting = [scheduler.collect(), scheduler.collect()];
    await pass(50);
    expect(times).toEqual([100, 150]);
    expect(await Promise.all(waiting)).toMatchObject([{ blobs: 7 }, { blobs: 7 }]);
    expect(reported).toMatchObject([{ blobs: 7 }]);
  });

  it('collects anew for who asks while a collection is under way', async () => {
    schedule();
    const held = Promise.withResolvers<Partial<Collected>>();
    next = () => held.promise;
    const first = scheduler.collect();
    await pass(0);
    next = async () => ({ blobs: 2 });
    const second = scheduler.collect();
    held.resolve({ blobs: 1 });
    await pass(0);
    expect(await first).toMatchObject({ blobs: 1 });
    expect(await second).toMatchObject({ blobs: 2 });
  });

  it('tells of failures, also those who wait, and tries again a second after its turn', async () => {
    schedule();
    scheduler.start();
    await pass(100);
    next = () => Promise.reject(new Error('disk gone'));
    const waiting = expect(scheduler.collect()).rejects.toThrow('garbage collection: disk gone');
    await pass(0);
    await waiting;
    expect(reported).toMatchObject([{ message: 'garbage collection: disk gone' }]);
    next = async () => ({});
    await pass(1979);
    expect(times).toEqual([100, 100]);
    await pass(1);
    expect(times).toEqual([100, 100, 2080]);
  });

  it('comes when something expires', async () => {
    schedule();
    next = async () => ({ nextExpiry: begin + 60_000 });
    scheduler.start();
    await pass(100);
    next = async () => ({});
    await pass(60_000);
    expect(times).toEqual([100, 60_100]);
  });

  it('ends with the daemon, for those who wait too', async () => {
    schedule({ scheduleDelay: 1000 });
    scheduler.start();
    await pass(100);
    const waiting = expect(scheduler.collect()).rejects.toMatchObject({ code: 'unavailable' });
    await scheduler.stop();
    await waiting;
    scheduler.deleted();
    await expect(scheduler.collect()).rejects.toMatchObject({ code: 'unavailable' });
    await pass(100_000);
    expect(times).toEqual([100]);
  });
});
