import { BerthError } from '#common/errors.ts';
import type { Collected } from './collector.ts';

/** When to collect, in the terms of containerd's scheduler (docs/garbage-collection.md). */
export interface Schedule {
  /** The share of time that collections may take on the long run; 0.5 at most. 0 waits a second between them. */
  readonly pauseThreshold: number;
  /** So many deletions call for a collection at once. 0: they wait for their turn. */
  readonly deletionThreshold: number;
  /** So many changes call for a collection when it is time for one. 0: only deletions do. */
  readonly mutationThreshold: number;
  /** From the call for a collection at once to its begin, in milliseconds. */
  readonly scheduleDelay: number;
  /** From the start to the first collection, in milliseconds. 0: something must call for it. */
  readonly startupDelay: number;
}

export const defaultSchedule: Schedule = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelay: 0,
  startupDelay: 100,
};

export interface SchedulerParts {
  readonly collector: { collect(): Promise<Collected>; settled(): Promise<void> };
  /** Told of every collection that took something away, and of every one that failed. */
  readonly onCollected: (result: Collected | BerthError) => void;
}

/** A collection counts as at least this long: a fast one must not call for the next at once. */
const shortestPauseMs = 5;
/** What is added to the wait after a failure. */
const retryDelayMs = 1000;
/** From the time something expires to its collection. */
const expiryDelayMs = 100;
/** setTimeout takes no more than 24 days. */
const longestWaitMs = 24 * 3_600_000;

/**
 * Decides when to collect, as containerd does: as often as the pauses of earlier collections allow, when something was
 * deleted or enough was changed since the last one, and at once when someone waits for it. Where containerd looks every
 * quarter of a second whether there is something to do, this sleeps until there is. Beyond containerd, what expires is
 * collected when its time has come.
 */
export class Scheduler {
  readonly #schedule: Schedule;
  readonly #parts: SchedulerParts;
  #state: 'new' | 'started' | 'stopped' = 'new';
  #timer: { readonly at: number; readonly handle: NodeJS.Timeout } | undefined;
  #waiters: PromiseWithResolvers<Collected>[] = [];
  #collecting = false;
  #deletions = 0;
  #mutations = 0;
  /** When the last collection ended; undefined before the first. */
  #last: number | undefined;
  #intervalMs = 1000;
  #pauseSumMs = 0;
  #collections = 0;

  constructor(schedule: Schedule, parts: SchedulerParts) {
    this.#schedule = { ...schedule, pauseThreshold: Math.min(Math.max(schedule.pauseThreshold, 0), 0.5) };
    this.#parts = parts;
  }

  /** Begins with collections in the background. */
  start(): void {
    this.#state = 'started';
    if (this.#schedule.startupDelay > 0) this.#arm(Date.now() + this.#schedule.startupDelay);
    else this.#consider();
  }

  /** Something lost what kept it. */
  deleted(): void {
    this.#deletions++;
    this.#consider();
  }

  /** A transaction was committed. */
  mutated(): void {
    this.#mutations++;
    this.#consider();
  }

  /** Collects as soon as the schedule's delay allows; resolves when it is done. @throws what collecting throws. */
  collect(): Promise<Collected> {
    if (this.#state === 'stopped') return Promise.reject(stopping());
    const waiter = Promise.withResolvers<Collected>();
    this.#waiters.push(waiter);
    this.#arm(Date.now() + this.#schedule.scheduleDelay);
    return waiter.promise;
  }

  /** Ends the schedule and waits for the collection under way. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    clearTimeout(this.#timer?.handle);
    this.#timer = undefined;
    await this.#parts.collector.settled();
    this.#release(this.#waiters.splice(0), stopping());
  }

  /** Arms the timer when there is something to do. */
  #consider(): void {
    if (this.#state !== 'started' || this.#collecting) return;
    const { deletionThreshold, mutationThreshold, scheduleDelay, startupDelay } = this.#schedule;
    const now = Date.now();
    const atOnce = deletionThreshold > 0 && this.#deletions >= deletionThreshold;
    const manyMutations = mutationThreshold > 0 && this.#mutations >= mutationThreshold;
    if (atOnce) this.#arm(now + scheduleDelay);
    else if (this.#deletions === 0 && !manyMutations) return;
    else if (this.#last !== undefined) this.#arm(nextTurn(this.#last, this.#intervalMs, now));
    else if (startupDelay === 0) this.#arm(now + scheduleDelay);
  }

  /** Sees to it that a collection begins no later than at `at`. */
  #arm(at: number): void {
    if (this.#state === 'stopped' || (this.#timer && this.#timer.at <= at)) return;
    clearTimeout(this.#timer?.handle);
    const wait = Math.min(Math.max(0, at - Date.now()), longestWaitMs);
    const handle = setTimeout(() => void this.#run(), wait);
    handle.unref();
    this.#timer = { at, handle };
  }

  async #run(): Promise<void> {
    this.#timer = undefined;
    // Whoever asks from here on waits for the next collection: this one may have looked already.
    const waiters = this.#waiters.splice(0);
    const { collector, onCollected } = this.#parts;
    this.#collecting = true;
    try {
      const counted = { deletions: this.#deletions, mutations: this.#mutations };
      const collected = await collector.collect();
      this.#deletions -= counted.deletions;
      this.#mutations -= counted.mutations;
      this.#note(collected.pauseMs);
      this.#release(waiters, collected);
      if (tookAnything(collected)) onCollected(collected);
      const { nextExpiry } = collected;
      if (nextExpiry !== undefined && this.#state === 'started') this.#arm(nextExpiry + expiryDelayMs);
    } catch (error) {
      const failure = BerthError.from(error, 'garbage collection');
      this.#last = Date.now();
      this.#release(waiters, failure);
      onCollected(failure);
      this.#arm(this.#last + this.#intervalMs + retryDelayMs);
    } finally {
      this.#collecting = false;
      this.#consider();
    }
  }

  /** Leaves as much time to the next collection as the pauses so far call for. */
  #note(pauseMs: number): void {
    const { pauseThreshold } = this.#schedule;
    this.#last = Date.now();
    this.#pauseSumMs += pauseMs;
    this.#collections++;
    const average = Math.max(this.#pauseSumMs / this.#collections, shortestPauseMs);
    if (pauseThreshold > 0) this.#intervalMs = average / pauseThreshold - average;
  }

  #release(waiters: readonly PromiseWithResolvers<Collected>[], result: Collected | BerthError): void {
    for (const { resolve, reject } of waiters) {
      if (result instanceof Error) reject(result);
      else resolve(result);
    }
  }
}

function tookAnything({ images, blobs, snapshots, ingests, leases }: Collected): boolean {
  return images + blobs + snapshots + ingests + leases > 0;
}

function stopping(): BerthError {
  return new BerthError('unavailable', 'no garbage is collected any more: berthd is stopping');
}

/** The first of the points of time one interval apart that is not before `now`. */
function nextTurn(last: number, interval: number, now: number): number {
  return last + Math.max(1, Math.ceil((now - last) / interval)) * interval;
}
