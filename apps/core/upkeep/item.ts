import type { Owner } from '../gc/nodes.ts';

export type ItemKind =
  | 'blob'
  | 'ingest'
  | 'snapshot'
  | 'lease'
  | 'metadata'
  | 'archive'
  | 'pods'
  | 'cache'
  | 'directory'
  | 'other';

/** What one item of the answer needs: {@link Owner}, or the daemon itself. */
export type ItemOwner = Owner | { readonly kind: 'daemon'; readonly ns: ''; readonly id: string };

/** Something on disk, or a lease, and who needs it. */
export interface Item {
  readonly kind: ItemKind;
  /** The namespaces that have it. */
  readonly namespaces: readonly string[];
  /** Digest, ref, `<snapshotter>/<key>`, lease id, or a path below the root directory. */
  readonly id: string;
  /** On disk: blocks, not lengths. */
  readonly bytes: number;
  readonly owners: readonly ItemOwner[];
}
