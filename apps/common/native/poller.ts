import { constants } from 'node:os';
import { close, EPOLL, epollAdd, epollCreate, epollDel, epollMod, epollWait, epollWatch } from './index.ts';

/** What is looked after by hand; disposed of, nothing is left of what it looked after. */
export interface Turning extends Disposable {
  /** Calls back for what is ready now. */
  turn(): void;
  /** Nothing is waited for. */
  readonly isEmpty: boolean;
}

/** Does no harm to a process that doesn't listen yet: it is ignored by default. */
const wakingSignal = 'SIGURG';

/** The longest that there is, in milliseconds. */
const longestInterval = 2 ** 31 - 1;

/** Calls back when a descriptor is ready, once for each time it is armed. */
export class Poller {
  readonly #callbacks = new Map<number, () => void>();
  readonly #ready = new Int32Array(16);
  #epoll: number | undefined;

  /** Without a thread, for a process that will fork. Before anything is added. */
  byHand(): Turning {
    const epoll = epollCreate();
    const callbacks = this.#callbacks;
    this.#epoll = epoll;
    return {
      turn: () => this.#turn(epoll),
      get isEmpty() {
        return callbacks.size === 0;
      },
      [Symbol.dispose]: () => {
        this.#epoll = undefined;
        callbacks.clear();
        close(epoll);
      },
    };
  }

  add(fd: number, events: number, ready: () => void): void {
    this.#epoll ??= this.#watch();
    this.#callbacks.set(fd, ready);
    epollAdd(this.#epoll, fd, events | EPOLL.ONESHOT);
  }

  arm(fd: number, events: number): void {
    if (this.#epoll !== undefined) epollMod(this.#epoll, fd, events | EPOLL.ONESHOT);
  }

  /** Before the descriptor is closed. A call that is under way finds nobody, or a newcomer with nothing to read. */
  remove(fd: number): void {
    this.#callbacks.delete(fd);
    if (this.#epoll !== undefined) epollDel(this.#epoll, fd);
  }

  /** From then on the event loop has something to wait for. */
  #watch(): number {
    const epoll = epollWatch(constants.signals[wakingSignal]);
    process.on(wakingSignal, () => this.#turn(epoll));
    setInterval(() => undefined, longestInterval);
    return epoll;
  }

  #turn(epoll: number): void {
    const ready = this.#ready;
    let count: number;
    do {
      count = epollWait(epoll, 0, ready);
      for (let n = 0; n < count; n++) this.#callbacks.get(ready[2 * n] as number)?.();
    } while (2 * count === ready.length);
  }
}

/** The process's own: one thread waits for all descriptors. */
export const poller = new Poller();
