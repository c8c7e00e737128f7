import { closeSync, constants, openSync } from 'node:fs';
import { SPLICE, splice } from '#common/native/index.ts';
import { closeFifos, openFifos } from './fifos.ts';
import type { LogSource } from './log-manager.ts';
import type { Output, OutputStream } from './output.ts';

/** Keeps the FIFOs of a container without a log from filling up. */
export class DiscardedOutput implements Output {
  readonly id: string;
  readonly streams: readonly OutputStream[];
  readonly #nowhere: number;

  constructor(source: LogSource) {
    this.id = source.containerId;
    this.streams = openFifos(source);
    this.#nowhere = openSync('/dev/null', constants.O_WRONLY);
  }

  move(stream: OutputStream): number {
    return splice(stream.fifo, this.#nowhere, 1 << 20, SPLICE.MOVE | SPLICE.NONBLOCK);
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
