/** Attributes of a file of a lower layer, for the copy of it that the upper layer needs. Travels as JSON. */
export interface LowerAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch, decimal. */
  readonly mtime: string;
  /** Names and base64 values. */
  readonly xattrs: readonly (readonly [string, string])[];
}

export interface LowerDirectory extends LowerAttributes {
  readonly kind: 'directory';
}

/** Anything that a hard link may stand for. Targets of symlinks are byte strings. */
export type LowerFile =
  | (LowerAttributes & { readonly kind: 'file' })
  | (LowerAttributes & { readonly kind: 'fifo' })
  | (LowerAttributes & { readonly kind: 'symlink'; readonly target: string })
  | (LowerAttributes & { readonly kind: 'char' | 'block'; readonly major: number; readonly minor: number });

/** What the layers below show at a path. */
export type LowerEntry = LowerDirectory | LowerFile | { readonly kind: 'none' } | { readonly kind: 'other' };

/** Looks up an absolute path whose parent is a directory (not a symlink) in the layers below. */
export type LookupLower = (path: string) => LowerEntry;

/** What the layers below show, for a writer that sees its own only. Paths are absolute, their parents no symlinks. */
export interface LowerLayers {
  readonly lookup: LookupLower;
  /** Copies the data of a file to {@link COPY_PATH} in the layer that is being written. */
  readonly copy: (path: string) => void;
}

export const NO_LOWER: LowerEntry = { kind: 'none' };

/** A name no member of an archive can have, since it would be a whiteout. */
export const COPY_PATH = '/.wh..berth-copy';
