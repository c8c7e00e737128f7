import type { Code } from '#common/errors.ts';
import type { FsMount } from '#common/mount.ts';

/*
 * What berthd and the process that makes a layer say to each other; see apply-protocol.ts, whose lookups it makes too.
 * The layer itself comes on the process's standard output.
 */

export type LayerCompression = 'none' | 'gzip' | 'zstd';

/** Where the changes are found. */
export type DiffSource =
  /** In an overlay's upper directory, which holds them and nothing else. */
  | { readonly kind: 'upper'; readonly root: string }
  /** By comparing two trees, mounted where only the process sees them, on `lower` and `upper` in the workspace. */
  | {
      readonly kind: 'trees';
      readonly lower: readonly FsMount[];
      readonly upper: readonly FsMount[];
      readonly workspace: string;
    };

export interface DiffJob {
  readonly source: DiffSource;
  readonly compression: LayerCompression;
  /** Nanoseconds since the epoch, decimal: the latest time that the layer may show. */
  readonly notAfter?: string;
}

/** The process's last word. `mounts needed` means that the upper directory at `path` can't be read without a mount. */
export type DiffMessage =
  | { readonly type: 'done'; readonly diffId: string }
  | { readonly type: 'mounts needed'; readonly path: string }
  | { readonly type: 'error'; readonly code: Code; readonly message: string };
