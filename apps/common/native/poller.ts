import { close, EPOLL, epollAdd, epollCreate, epollDel, epollMod, epollWait, epollWatch } from './index.ts';

/** What is looked after by hand; disposed of, nothing is left of what it looked after. */
export interface Turning extends Disposable {
  /** Calls back for what is ready now. */
  turn(): void;
  /** Nothing is waited for. */
  readonly isEmpty: boolean;
}

/** Calls back when a descriptor is ready, once for each time it is armed. */
export class Poller {
  readonly #callbacks = new Map<number, () => void>();
  #epoll: number | undefined;

  /** Without a thread, for a process that will fork. Before anything is added. */
  byHand(): Turning {
    const epoll = epollCreate();
    const found = new Int32Array(16);
    const callbacks = this.#callbacks;
    this.#epoll = epoll;
    return {
      turn: () => {
        const count = epollWait(epoll, 0, found);
        for (let n = 0; n < count; n++) callbacks.get(found[2 * n] as number)?.();
      },
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
    this.#epoll ??= epollWatch((readyFd) => this.#callbacks.get(readyFd)?.());
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
}

/** The process's own: one thread waits for all descriptors. */
export const poller = new Poller();
