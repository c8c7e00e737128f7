import { EPOLL, epollAdd, epollDel } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Follower } from './follower.ts';
import type { OutputStream } from './output.ts';

interface Followed {
  readonly follower: Follower;
  readonly stream: OutputStream;
}

/** Those who follow the streams of running containers. Used by the worker, on its thread only. */
export class Followers {
  readonly #epoll: number;
  readonly #patienceMs: number;
  readonly #all = new Map<number, Followed>();
  /** By descriptor; watched until there is room in the pipe. */
  readonly #behind = new Map<number, Followed>();
  readonly #onRoom: (stream: OutputStream) => void;
  readonly #onEnd: (id: number, stuck: boolean) => void;

  /**
   * @param patienceMs a follower that reads nothing for so long is let go: until then the container waits for it
   * @param onRoom called when a stream may have nobody left who is behind
   * @param onEnd called once for each follower, when it has got everything, left, or was let go because it was stuck
   */
  constructor(
    epoll: number,
    patienceMs: number,
    onRoom: (stream: OutputStream) => void,
    onEnd: (id: number, stuck: boolean) => void,
  ) {
    this.#epoll = epoll;
    this.#patienceMs = patienceMs;
    this.#onRoom = onRoom;
    this.#onEnd = onEnd;
  }

  add(follower: Follower, stream: OutputStream): void {
    const followed = { follower, stream };
    this.#all.set(follower.id, followed);
    if (stream.ended) this.#release(followed);
    else stream.followers.add(follower);
  }

  /** Unknown ones are no error. */
  remove(id: number): void {
    const followed = this.#all.get(id);
    if (followed !== undefined) this.#release(followed);
  }

  /** Hands on the next bytes of a stream. */
  tell(stream: OutputStream, bytes: Buffer): void {
    for (const follower of stream.followers) {
      const followed = { follower, stream };
      this.#attempt(followed, () => follower.take(bytes));
    }
  }

  /** No more comes from this stream. */
  end(stream: OutputStream): void {
    for (const follower of stream.followers) {
      follower.ending = true;
      this.#attempt({ follower, stream }, () => follower.catchUp());
    }
    stream.followers.clear();
  }

  /** Whether a descriptor that epoll named was one of ours. */
  serve(fd: number): boolean {
    const followed = this.#behind.get(fd);
    if (followed !== undefined) this.#attempt(followed, () => followed.follower.catchUp());
    return followed !== undefined;
  }

  /** When the next one is to be let go. */
  get due(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const { follower } of this.#behind.values()) due = Math.min(due, follower.stuckSince + this.#patienceMs);
    return due;
  }

  letGoOfStuck(now: number): void {
    for (const followed of this.#behind.values()) {
      if (followed.follower.stuckSince + this.#patienceMs <= now) this.#release(followed, true);
    }
  }

  #attempt(followed: Followed, step: () => void): void {
    const { follower, stream } = followed;
    try {
      step();
    } catch (error) {
      if (!hasErrno(error, 'EPIPE')) throw error;
      this.#release(followed);
      return;
    }
    if (follower.isBehind) {
      if (!this.#behind.has(follower.fd)) epollAdd(this.#epoll, follower.fd, EPOLL.OUT);
      this.#behind.set(follower.fd, followed);
      return;
    }
    this.#unwatch(follower);
    if (follower.ending) this.#release(followed);
    else this.#onRoom(stream);
  }

  #release(followed: Followed, stuck = false): void {
    const { follower, stream } = followed;
    this.#unwatch(follower);
    stream.followers.delete(follower);
    if (!this.#all.delete(follower.id)) return;
    this.#onEnd(follower.id, stuck);
    this.#onRoom(stream);
  }

  #unwatch(follower: Follower): void {
    if (this.#behind.delete(follower.fd)) epollDel(this.#epoll, follower.fd);
  }
}
