import type { Code } from '#common/errors.ts';
import type { LogSource } from './log-manager.ts';

/** What the worker is started with. Descriptors belong to the process, hence to both threads. */
export interface WorkerSettings {
  readonly stateDirectory: string;
  readonly maxLine: number;
  /** eventfd; signalled after a command was posted. */
  readonly wake: number;
  /** One number, not 0 when the worker has to close everything and return. */
  readonly stop: Int32Array;
}

export type Command =
  | { readonly op: 'attach'; readonly source: LogSource }
  | { readonly op: 'reopen'; readonly id: string }
  | { readonly op: 'drained'; readonly id: string; readonly timeoutMs: number }
  | { readonly op: 'detach'; readonly id: string };

export interface Request {
  readonly seq: number;
  readonly command: Command;
}

/** The answer to one request, or news of a log that can't be written (`fault`) or can again (null). */
export type WorkerMessage =
  | { readonly seq: number; readonly error?: { readonly code: Code; readonly message: string } }
  | { readonly id: string; readonly fault: string | null };
