import type { BigIntStats } from 'node:fs';
import type { FileXattrs } from './layer-files.ts';

/**
 * One step from the lower tree to the upper one. Paths are byte strings that begin with a slash; they come depth first,
 * in the order of their bytes, a directory before what is in it.
 */
export type Change =
  /** Something that is new or different; `unchanged` is told of for the sake of its further hard links only. */
  | {
      readonly kind: 'entry';
      readonly path: string;
      readonly stat: BigIntStats;
      readonly xattrs: FileXattrs;
      readonly unchanged?: boolean;
    }
  /** Something that is no longer there, and all in it. */
  | { readonly kind: 'removed'; readonly path: string }
  /** A directory, told of right before, shows nothing of the lower one in its place. */
  | { readonly kind: 'opaque'; readonly path: string };
