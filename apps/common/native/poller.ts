import { EPOLL, epollAdd, epollDel, epollMod, epollWatch } from './index.ts';

/** Calls back when a descriptor is ready, once for each time it is armed. */
export class Poller {
  readonly #callbacks = new Map<number, () => void>();
  #epoll: number | undefined;

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
