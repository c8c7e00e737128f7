import type { Readable } from 'node:stream';
import type { StreamName } from './cri-lines.ts';

/** What becomes of a container's output. Everything is fixed for the container's life. */
export interface LogSource {
  readonly containerId: string;
  /** FIFO of standard output; with a terminal it carries both streams. Exists before `attach`. */
  readonly stdout?: string;
  /** FIFO of standard error; absent with a terminal. */
  readonly stderr?: string;
  /**
   * CRI log file, an absolute path (see `confineLogPath`). Absent: the FIFOs are still drained, their data discarded,
   * so that the container never blocks on a full pipe.
   */
  readonly logPath?: string;
  /** The pod's log directory. The log file must lie below it even after symbolic links are resolved. */
  readonly logDirectory?: string;
  readonly tty: boolean;
}

/** A stream of a container as it comes, from when it was asked for. */
export interface FollowedOutput extends Disposable {
  /** Ends with the stream. The container waits for its reader; one that takes nothing for a while gets `resource_exhausted`. */
  readonly output: Readable;
}

/**
 * Moves container output from FIFOs to CRI log files, off the main thread. Every line stands in the log once and in
 * order, whatever moment this process is killed at, as long as someone else (the shim) keeps the FIFOs alive.
 */
export interface LogManager {
  /** Since the start. */
  readonly written: { readonly bytes: number; readonly entries: number };

  /**
   * Opens the FIFOs for reading and the log file for appending. Called before the task is created, and again for each
   * live container after a restart: then the log goes on exactly where it stopped.
   *
   * @throws `already_exists` when the container is attached, `not_found` when a FIFO or the pod's log directory is
   * missing, `invalid_argument` when the log file would leave the pod's log directory. A container that was attached
   * before this process started is attached even if its log can't be opened now; opening is retried.
   */
  attach(source: LogSource): Promise<void>;

  /**
   * Starts a new log file at the same path, after the kubelet renamed the old one. A barrier: what the container wrote
   * before the call is in the old file, what it writes after the promise resolves goes to the new one.
   *
   * @throws `not_found` for an unknown container, `failed_precondition` when the old or new file can't be written; the
   * old file then stays in use.
   */
  reopen(containerId: string): Promise<void>;

  /**
   * Waits, after the container's process has exited, until all its output is in the log: at the end of every FIFO, or
   * after `timeoutMs` when a process that outlived the container still holds one open. Never fails for an unknown
   * container.
   */
  drained(containerId: string, timeoutMs: number): Promise<void>;

  /**
   * A copy of what a container writes from now on. Disposing it ends it.
   *
   * @throws `not_found` for a container that isn't attached, or that has no such stream: with a terminal everything is
   * in stdout.
   */
  follow(containerId: string, stream: StreamName): Promise<FollowedOutput>;

  /** Writes what is left, closes the descriptors and forgets the container. Unknown containers are no error. */
  detach(containerId: string): Promise<void>;

  /** Stops the worker. Attached containers can be attached again by the next process. */
  close(): Promise<void>;
}
