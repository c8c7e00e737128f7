import type { Labels } from '#common/labels.ts';

/** Protects resources from garbage collection until it is deleted or its `containerd.io/gc.expire` has passed. */
export interface Lease {
  /** Unique in the namespace. Immutable. */
  readonly id: string;
  readonly createdAt: Temporal.Instant;
  /** Immutable. */
  readonly labels: Labels;
}

/** `type` is `content`, `ingests`, `images` or `snapshots/<snapshotter>`; `id` is a digest, a ref, a name or a key. */
export interface LeaseResource {
  readonly type: string;
  readonly id: string;
}

export interface LeaseStore {
  /** @throws already_exists; invalid_argument for an empty id or a bad label. */
  create(ns: string, id: string, labels?: Labels): Lease;
  /** Its resources lose the protection. @throws not_found */
  delete(ns: string, id: string): void;
  /** @throws invalid_argument for a bad filter. */
  list(ns: string, filters?: readonly string[]): Lease[];
  /** Adding twice is no error. @throws not_found for the lease; invalid_argument for a malformed resource. */
  addResource(ns: string, id: string, resource: LeaseResource): void;
  /** Removing what isn't there is no error. @throws not_found for the lease; invalid_argument for a malformed resource. */
  deleteResource(ns: string, id: string, resource: LeaseResource): void;
  /** @throws not_found */
  resources(ns: string, id: string): LeaseResource[];
}

/**
 * Runs `use` under a lease of its own that ends with it. When the daemon dies, the next one releases it at its start; when
 * there is none, it expires after 24 hours.
 */
export type WithLease = <T>(ns: string, use: (lease: string) => Promise<T>) => Promise<T>;
