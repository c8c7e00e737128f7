import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import type { FileIdentity } from './log-file.ts';

/** How far a container's log has come. */
export interface LogProgress {
  /** The log file, and its size when the positions were taken. */
  readonly log: FileIdentity;
  readonly size: number;
  /** First byte of each journal that isn't in the log. */
  readonly stdout: number;
  readonly stderr: number;
}

/** Room for one record: identity and positions at their longest are shorter, and it never crosses a page. */
const RECORD = 256;

/**
 * The durable `LogProgress` of one container: one line of JSON, overwritten in place. A process killed meanwhile
 * leaves the old or the new one whole, since the kernel copies a write within a page in one step.
 */
export class LogRecord {
  readonly #fd: number;
  readonly #line = Buffer.alloc(RECORD);

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static open(path: string): LogRecord {
    return new LogRecord(openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
  }

  /** undefined: never written. */
  read(): LogProgress | undefined {
    const length = readSync(this.#fd, this.#line, 0, RECORD, 0);
    return length === RECORD ? (JSON.parse(this.#line.toString('latin1')) as LogProgress) : undefined;
  }

  write(progress: LogProgress): void {
    const length = this.#line.write(JSON.stringify(progress), 'latin1');
    this.#line.fill(' ', length, RECORD - 1);
    this.#line[RECORD - 1] = 10;
    writeSync(this.#fd, this.#line, 0, RECORD, 0);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
