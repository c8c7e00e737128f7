import type { Code } from '#common/errors.ts';
import type { Whiteouts } from './layer-writer.ts';
import type { LowerEntry } from './lower.ts';

/*
 * What berthd and the process that applies a layer say to each other, one JSON text a line: berthd on the child's standard
 * input, the child on its descriptor 3. Byte strings pass unchanged, JSON escapes them.
 */

/** A line to the child that waits for its first or next job: it may be started ahead of need. */
export interface ApplyJob {
  /** Path of berthd's open descriptor of the layer, below /proc. */
  readonly blob: string;
  readonly root: string;
  readonly whiteouts: Whiteouts;
  /** Whether the layers below aren't there yet: questions about them wait until they are. */
  readonly isAhead: boolean;
}

/** Lines from the child beside its lookups; `done` or `error` is the last one of a job. */
export type ChildMessage =
  | { readonly type: 'progress'; readonly bytes: number }
  | { readonly type: 'done'; readonly diffId: string; readonly size: number; readonly hasRoot: boolean }
  | { readonly type: 'error'; readonly code: Code; readonly message: string };

/** A line from the child that waits for the {@link LowerReply}. */
export type LowerQuestion =
  | { readonly type: 'lookup'; readonly path: string }
  /** Wants the data of a lower layer's file at COPY_PATH. */
  | { readonly type: 'copy'; readonly path: string };

export type LowerReply = { readonly entry: LowerEntry } | { readonly error: string };
