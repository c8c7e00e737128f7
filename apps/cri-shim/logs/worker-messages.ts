import type { Code } from '#common/errors.ts';
import type { StreamName } from './cri-lines.ts';
import type { LogSource } from './log-manager.ts';

/** What the worker is started with. Descriptors belong to the process, hence to both threads. */
export interface WorkerSettings {
  readonly stateDirectory: string;
  readonly maxLine: number;
  /** A follower that reads nothing for so long is let go. */
  readonly followerPatienceMs: number;
  /** eventfd; signalled after a command was posted. */
  readonly wake: number;
  /** See LogCounts. */
  readonly counts: Float64Array;
  /** One number, not 0 when the worker has to close everything and return. */
  readonly stop: Int32Array;
}

export type Command =
  | { readonly op: 'attach'; readonly source: LogSource }
  | { readonly op: 'reopen'; readonly id: string }
  | { readonly op: 'drained'; readonly id: string; readonly timeoutMs: number }
  | { readonly op: 'detach'; readonly id: string }
  | {
      readonly op: 'follow';
      readonly id: string;
      readonly stream: StreamName;
      readonly follower: number;
      readonly fd: number;
    }
  | { readonly op: 'unfollow'; readonly follower: number };

export interface Request {
  readonly seq: number;
  readonly command: Command;
}

/**
 * The answer to one request; news of a log that can't be written (`fault`) or can again (null); or that a follower's
 * descriptor is used no more, maybe because it was `stuck`.
 */
export type WorkerMessage =
  | { readonly seq: number; readonly error?: { readonly code: Code; readonly message: string } }
  | { readonly id: string; readonly fault: string | null }
  | { readonly follower: number; readonly stuck: boolean };
