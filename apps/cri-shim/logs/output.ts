import type { StreamName } from './cri-lines.ts';
import type { Follower } from './follower.ts';

/** The reading end of one stream of a container. */
export interface OutputStream {
  readonly name: StreamName;
  /** Descriptor of the FIFO, non-blocking. */
  readonly fifo: number;
  /** Get each byte that leaves the FIFO. */
  readonly followers: Set<Follower>;
  /** No process will write to the FIFO any more, and all its data is where it belongs. */
  ended: boolean;
}

/** Where a container's output goes: a log, or nowhere. Used by the worker, on its thread only. */
export interface Output<Stream extends OutputStream = OutputStream> {
  readonly id: string;
  readonly streams: readonly Stream[];

  /**
   * Brings what had to wait to its place.
   *
   * @throws BerthError while the log can't be written; `move` mustn't be called then.
   */
  settle(): void;

  /**
   * Moves what the FIFO holds, but not endlessly much. Answers the number of bytes taken out of the FIFO, 0 when no
   * process has it open for writing, -1 when it is empty. The stream's followers are told of them.
   *
   * @throws BerthError when the log can't be written. Nothing is lost: `settle` goes on with it.
   */
  move(stream: Stream): number;

  /** Writes a stream's last line though it has no newline (yet): as a part, which readers join with what follows. */
  flush(stream: Stream): void;

  /** See LogManager. */
  reopen(): void;

  /** Closes the descriptors; what is on disk stays for the next process. */
  close(): void;

  /** Closes, and removes what is kept for the next process. */
  forget(): void;
}
