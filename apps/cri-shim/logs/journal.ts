import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { punchHole, SPLICE, seek, splice } from '#common/native/index.ts';

/** Consumed bytes that a journal may keep before it gives them back. */
const SLACK = 256 * 1024;
const PAGE = 4096;

/**
 * Raw output of one stream on its way from the FIFO to the log: a file that grows at its end and is given back from
 * its start. Positions count from the file's start and survive this process.
 *
 * What has left the pipe is in the file, whenever the process dies: splice(2) removes from the pipe what the file's
 * write took, in one system call, and a fatal signal is noticed between pages only, where both sides agree. (A crash
 * of the machine loses the journal; it takes the container along.)
 */
export class Journal {
  readonly #fd: number;
  /** First byte that isn't in the log yet. */
  #start: number;
  /** Where the next byte goes: the file's size. */
  #end: number;
  /** Bytes before this position have been given back. */
  #freed = 0;

  /**
   * Opens or makes the journal. A file that ends before `start` was emptied by `release` right before the process
   * died: everything in it had been consumed.
   */
  constructor(path: string, start: number) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#end = fstatSync(this.#fd).size;
    this.#start = Math.min(this.#end, start);
    seek(this.#fd, this.#end);
  }

  get start(): number {
    return this.#start;
  }

  get unread(): number {
    return this.#end - this.#start;
  }

  /** Moves up to `limit` bytes out of `fifo`. Answers their number, 0 when no process writes to it, -1 when empty. */
  fill(fifo: number, limit: number): number {
    const moved = splice(fifo, this.#fd, limit, SPLICE.MOVE | SPLICE.NONBLOCK);
    if (moved > 0) this.#end += moved;
    return moved;
  }

  /** Reads unconsumed bytes, `skip` bytes after the first of them, into `buffer`; answers their number. */
  read(buffer: Buffer, skip = 0): number {
    const length = Math.min(buffer.length, this.unread - skip);
    return length <= 0 ? 0 : readSync(this.#fd, buffer, 0, length, this.#start + skip);
  }

  /** Marks the next `bytes` as being in the log. */
  consume(bytes: number): void {
    this.#start += bytes;
  }

  /**
   * Gives consumed bytes back once there are many. To be called when `start` is on record; when it answers true,
   * `start` is 0 now and has to be recorded again before the next `fill`.
   */
  release(): boolean {
    if (this.#start - this.#freed < SLACK) return false;
    if (this.unread === 0) {
      ftruncateSync(this.#fd, 0);
      seek(this.#fd, 0);
      this.#start = 0;
      this.#end = 0;
      this.#freed = 0;
      return true;
    }
    const upTo = Math.floor(this.#start / PAGE) * PAGE;
    punchHole(this.#fd, this.#freed, upTo - this.#freed);
    this.#freed = upTo;
    return false;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
