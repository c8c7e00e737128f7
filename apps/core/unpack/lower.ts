/** Attributes of a directory of a lower layer, for the copy of it that the upper layer needs. Travels as JSON. */
export interface LowerDirectory {
  readonly kind: 'directory';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch, decimal. */
  readonly mtime: string;
  /** Names and base64 values. */
  readonly xattrs: readonly (readonly [string, string])[];
}

/** What the layers below show at a path. Targets are byte strings. */
export type LowerEntry =
  | LowerDirectory
  | { readonly kind: 'none' | 'other' }
  | { readonly kind: 'symlink'; readonly target: string };

/** Looks up an absolute path whose parent is a directory (not a symlink) in the layers below. */
export type LookupLower = (path: string) => LowerEntry;

export const NO_LOWER: LowerEntry = { kind: 'none' };
