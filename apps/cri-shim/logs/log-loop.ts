import { BerthError } from '#common/errors.ts';
import { close, EPOLL, epollAdd, epollCreate, epollDel, epollWait, eventfdDrain } from '#common/native/index.ts';
import { Followers } from './followers.ts';
import type { Output, OutputStream } from './output.ts';

const EVENTS = 64;
/** How long a log that can't be written is left alone. */
const RETRY_MS = 500;
/** Pipes full of output that draining one stream takes at most: of a process that goes on writing without end. */
const DRAIN_TURNS = 256;
/** Below this much output per pass the loop is being woken too often for its own good. */
const BUSY_BYTES = 32 * 1024;
const BUSY_MS = 1;

export interface LogLoopOptions {
  /** eventfd that ends the waiting. */
  readonly wake: number;
  readonly followerPatienceMs: number;
  /** A log can't be written, or (null) can again. */
  readonly onFault: (id: string, fault: string | null) => void;
  readonly onFollowerEnd: (id: number, stuck: boolean) => void;
}

interface Watched {
  readonly output: Output;
  readonly stream: OutputStream;
}

interface Waiter {
  readonly output: Output;
  readonly deadline: number;
  readonly done: () => void;
}

/**
 * Waits for output and moves it, on the worker's thread. A log that can't be written is taken out of the watch, so
 * that its data stays in the pipes, and tried again from time to time.
 */
export class LogLoop {
  readonly followers: Followers;
  readonly #epoll = epollCreate();
  readonly #wake: number;
  readonly #events = new Int32Array(2 * EVENTS);
  readonly #nap = new Int32Array(new SharedArrayBuffer(4));
  readonly #watched = new Map<number, Watched>();
  /** Logs that can't be written, and when to try again. */
  readonly #blocked = new Map<Output, number>();
  readonly #waiters = new Set<Waiter>();
  /** Streams of which a follower is behind: they wait for it. */
  readonly #held = new Map<OutputStream, Output>();
  readonly #onFault: (id: string, fault: string | null) => void;
  #lastMove = 0;

  constructor({ wake, followerPatienceMs, onFault, onFollowerEnd }: LogLoopOptions) {
    this.#wake = wake;
    this.#onFault = onFault;
    epollAdd(this.#epoll, wake, EPOLL.IN);
    const onRoom = (stream: OutputStream): void => this.#release(stream);
    this.followers = new Followers(this.#epoll, followerPatienceMs, onRoom, onFollowerEnd);
  }

  /** Starts to move a container's output. */
  add(output: Output): void {
    for (const stream of output.streams) this.#watch(output, stream);
    this.#guard(output, () => output.settle());
  }

  /** Stops to move a container's output; its descriptors are still open. */
  remove(output: Output): void {
    this.#blocked.delete(output);
    for (const stream of output.streams) this.#unwatch(stream);
    for (const waiter of this.#waiters) {
      if (waiter.output === output) this.#answer(waiter);
    }
  }

  /**
   * Calls `done` when all streams have ended and are in the log, or at the deadline with what there is. Only for a
   * container whose process has exited: no writer then means that none will come.
   */
  drain(output: Output, timeoutMs: number, done: () => void): void {
    const waiter = { output, deadline: performance.now() + timeoutMs, done };
    this.#waiters.add(waiter);
    this.#check(waiter);
  }

  /** Moves and writes whatever is left, once. */
  finish(output: Output): void {
    try {
      output.settle();
      this.#moveAll(output);
      for (const stream of output.streams) output.flush(stream);
    } finally {
      for (const stream of output.streams) this.followers.end(stream);
    }
  }

  close(): void {
    close(this.#epoll);
  }

  /** Waits for the next output, deadline or wake-up and handles it. */
  turn(): void {
    const ready = epollWait(this.#epoll, this.#patience(), this.#events);
    let moved = 0;
    for (let i = 0; i < ready; i++) {
      const fd = this.#events[2 * i] ?? -1;
      const hungUp = ((this.#events[2 * i + 1] ?? 0) & EPOLL.HUP) !== 0;
      if (fd === this.#wake) eventfdDrain(fd);
      else if (!this.followers.serve(fd)) moved += this.#serve(fd, hungUp);
    }
    const now = performance.now();
    for (const [output, retryAt] of this.#blocked) {
      if (now >= retryAt) this.#retry(output);
    }
    for (const waiter of this.#waiters) this.#check(waiter);
    this.followers.letGoOfStuck(now);
    this.#pace(moved, now);
  }

  /**
   * A writer of many small lines would wake this loop for each of them. While it is at it, short naps let its output
   * pile up in the pipe; a lone line is never delayed.
   */
  #pace(moved: number, now: number): void {
    if (moved === 0) return;
    const busy = moved < BUSY_BYTES && now - this.#lastMove < 2 * BUSY_MS;
    if (busy) Atomics.wait(this.#nap, 0, 0, BUSY_MS);
    this.#lastMove = busy ? performance.now() : now;
  }

  /** Milliseconds until something is due; -1: nothing is. */
  #patience(): number {
    let due = this.followers.due;
    for (const retryAt of this.#blocked.values()) due = Math.min(due, retryAt);
    for (const waiter of this.#waiters) due = Math.min(due, waiter.deadline);
    return due === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(due - performance.now()));
  }

  #serve(fd: number, hungUp: boolean): number {
    const watched = this.#watched.get(fd);
    if (watched === undefined) return 0;
    const { output, stream } = watched;
    let moved = 0;
    this.#guard(output, () => {
      moved = output.move(stream);
      if (moved === 0 && hungUp) this.#end(output, stream);
      else if (isBehind(stream)) this.#hold(output, stream);
    });
    return Math.max(0, moved);
  }

  /** Moves what there is, and a bounded part of what is being added meanwhile. */
  #moveAll(output: Output): void {
    for (const stream of output.streams) {
      let moved = stream.ended ? -1 : 1;
      for (let turns = 0; moved > 0 && turns < DRAIN_TURNS; turns++) moved = output.move(stream);
      if (moved === 0) this.#end(output, stream);
    }
  }

  #end(output: Output, stream: OutputStream): void {
    output.flush(stream);
    stream.ended = true;
    this.#unwatch(stream);
    this.followers.end(stream);
  }

  #watch(output: Output, stream: OutputStream): void {
    this.#watched.set(stream.fifo, { output, stream });
    epollAdd(this.#epoll, stream.fifo, EPOLL.IN);
  }

  #unwatch(stream: OutputStream): void {
    this.#held.delete(stream);
    if (this.#watched.delete(stream.fifo)) epollDel(this.#epoll, stream.fifo);
  }

  #hold(output: Output, stream: OutputStream): void {
    this.#unwatch(stream);
    this.#held.set(stream, output);
  }

  /** Goes on with a stream that was held, if nobody is behind any more. */
  #release(stream: OutputStream): void {
    const output = this.#held.get(stream);
    if (output === undefined || isBehind(stream)) return;
    this.#held.delete(stream);
    this.#watch(output, stream);
  }

  #check(waiter: Waiter): void {
    const { output, deadline } = waiter;
    const late = performance.now() >= deadline;
    if (!this.#blocked.has(output)) {
      this.#guard(output, () => {
        this.#moveAll(output);
        if (late) for (const stream of output.streams) output.flush(stream);
      });
    }
    if (late || output.streams.every((stream) => stream.ended)) this.#answer(waiter);
  }

  #answer(waiter: Waiter): void {
    this.#waiters.delete(waiter);
    waiter.done();
  }

  /** Runs a step; when the log can't be written, takes the output out of the watch. */
  #guard(output: Output, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!this.#blocked.has(output)) {
        this.#onFault(output.id, BerthError.from(error).message);
        for (const stream of output.streams) this.#unwatch(stream);
      }
      this.#blocked.set(output, performance.now() + RETRY_MS);
    }
  }

  #retry(output: Output): void {
    this.#guard(output, () => {
      output.settle();
      this.#blocked.delete(output);
      this.#onFault(output.id, null);
      for (const stream of output.streams) {
        if (!stream.ended) this.#watch(output, stream);
      }
    });
  }
}

function isBehind({ followers }: OutputStream): boolean {
  for (const follower of followers) if (follower.isBehind) return true;
  return false;
}
