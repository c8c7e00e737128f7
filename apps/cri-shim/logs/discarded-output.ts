import { closeSync, constants, openSync, readSync } from 'node:fs';
import { SPLICE, splice } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { closeFifos, openFifos } from './fifos.ts';
import type { Followers } from './followers.ts';
import type { LogSource } from './log-manager.ts';
import type { Output, OutputStream } from './output.ts';

/** Keeps the FIFOs of a container without a log from filling up. */
export class DiscardedOutput implements Output {
  readonly id: string;
  readonly streams: readonly OutputStream[];
  readonly #nowhere: number;
  readonly #followers: Followers;
  readonly #buffer: Buffer;

  constructor(source: LogSource, followers: Followers, buffer: Buffer) {
    this.id = source.containerId;
    this.streams = openFifos(source);
    this.#nowhere = openSync('/dev/null', constants.O_WRONLY);
    this.#followers = followers;
    this.#buffer = buffer;
  }

  move(stream: OutputStream): number {
    if (stream.followers.size > 0) return this.#tell(stream);
    return splice(stream.fifo, this.#nowhere, 1 << 20, SPLICE.MOVE | SPLICE.NONBLOCK);
  }

  #tell(stream: OutputStream): number {
    try {
      const length = readSync(stream.fifo, this.#buffer);
      this.#followers.tell(stream, this.#buffer.subarray(0, length));
      return length;
    } catch (error) {
      if (hasErrno(error, 'EAGAIN')) return -1;
      throw error;
    }
  }

  settle(): void {}

  flush(): void {}

  reopen(): void {}

  close(): void {
    closeFifos(this.streams);
    closeSync(this.#nowhere);
  }

  forget(): void {
    this.close();
  }
}
