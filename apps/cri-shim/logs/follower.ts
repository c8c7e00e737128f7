import { writeSync } from 'node:fs';
import { hasErrno } from '#common/node-error.ts';

/**
 * Someone who sees a stream of a container from now on, through a pipe. What the pipe has no room for waits here; the
 * container's output is then left in its FIFO, so that this is little more than what was moved in one go.
 */
export class Follower {
  readonly id: number;
  /** Write end of the pipe, non-blocking; whoever asked to follow closes it. */
  readonly fd: number;
  readonly #backlog: Buffer[] = [];
  /** Nothing more comes than what waits. */
  ending = false;
  /** When the pipe last took something, or there was nothing to take. */
  #movedAt = 0;

  constructor(id: number, fd: number) {
    this.id = id;
    this.fd = fd;
  }

  get isBehind(): boolean {
    return this.#backlog.length > 0;
  }

  /** Since when it has been reading nothing though there is something to read. */
  get stuckSince(): number {
    return this.isBehind ? this.#movedAt : Number.POSITIVE_INFINITY;
  }

  /** Hands on bytes, which may be overwritten afterwards. @throws EPIPE when nobody reads any more */
  take(bytes: Buffer): void {
    const rest = this.isBehind ? bytes : this.#write(bytes);
    if (rest.length > 0) this.#backlog.push(Buffer.from(rest));
  }

  /** Hands on what waits, as far as there is room. @throws EPIPE when nobody reads any more */
  catchUp(): void {
    for (let next = this.#backlog[0]; next !== undefined; next = this.#backlog[0]) {
      const rest = this.#write(next);
      if (rest.length > 0) {
        this.#backlog[0] = rest;
        return;
      }
      this.#backlog.shift();
    }
  }

  /** Answers what the pipe didn't take. */
  #write(bytes: Buffer): Buffer {
    let rest = bytes;
    try {
      while (rest.length > 0) {
        rest = rest.subarray(writeSync(this.fd, rest));
        this.#movedAt = performance.now();
      }
    } catch (error) {
      if (!hasErrno(error, 'EAGAIN')) throw error;
      if (!this.isBehind && rest.length === bytes.length) this.#movedAt = performance.now();
    }
    return rest;
  }
}
