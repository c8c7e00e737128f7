import type { Labels } from '#common/labels.ts';

/** An instruction for mount(2), in the shape that travels in containerd's API. */
export interface Mount {
  readonly type: string;
  readonly source: string;
  /** Path below the container's root; absent for the root itself. */
  readonly target?: string;
  readonly options: readonly string[];
}

/** `active` is writable, `view` is read-only and can't be committed, `committed` is a parent for others. */
export type SnapshotKind = 'active' | 'view' | 'committed';

export interface SnapshotInfo {
  readonly kind: SnapshotKind;
  /** Key of an active snapshot or view, name of a committed one: unique in the namespace. */
  readonly name: string;
  /** Name of the committed snapshot below, undefined at the bottom. */
  readonly parent: string | undefined;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
  /** The one mutable field. */
  readonly labels: Labels;
}

/** What the snapshot itself holds, parents not counted. */
export interface SnapshotUsage {
  /** Bytes on disk. */
  readonly size: number;
  readonly inodes: number;
}

export interface SnapshotOptions {
  readonly labels?: Labels;
  /** The lease that protects the snapshot. */
  readonly lease?: string | undefined;
}

export interface CommitSnapshotOptions extends SnapshotOptions {
  /** What the snapshot holds, when the caller has counted; otherwise it is counted when somebody asks. */
  readonly usage?: SnapshotUsage;
  /** What the caller takes for the parent; '' and absent say nothing. See {@link Snapshotter.rebases}. */
  readonly parent?: string;
  /** Of a snapshot that is given its parent: whether its root directory doesn't take that one's owner and mode. */
  readonly keepsRoot?: boolean;
}

/** Layers of file systems. Keys and names belong to the namespace. */
export interface Snapshotter {
  /** How clients call it, `overlayfs`. */
  readonly name: string;
  /** Whether a snapshot that was made without a parent can be given one by {@link commit}: no file depends on it. */
  readonly rebases: boolean;
  /**
   * Makes a writable snapshot on top of `parent` ('' for none) and answers how to mount it.
   * @throws already_exists when the key is taken, or when the label `containerd.io/snapshot.ref` names a snapshot that is
   *   there (the caller then needs no unpacking; it is added to the lease); not_found for the parent;
   *   invalid_argument when the parent is not committed.
   */
  prepare(ns: string, key: string, parent: string, options?: SnapshotOptions): Promise<Mount[]>;
  /** As {@link prepare}, read-only. */
  view(ns: string, key: string, parent: string, options?: SnapshotOptions): Promise<Mount[]>;
  /** How to mount an active snapshot or view. @throws not_found; failed_precondition for a committed one. */
  mounts(ns: string, key: string): Promise<Mount[]>;
  /**
   * Turns the active snapshot `key` into the committed `name`; the labels given replace those of the key. Whoever wrote
   * the files has synced them: the record must not outlive them in a power cut.
   * @throws not_found; already_exists when the name is taken; failed_precondition when it is not active;
   *   invalid_argument for another parent than it was made on, or for one that isn't there.
   */
  commit(ns: string, name: string, key: string, options?: CommitSnapshotOptions): Promise<void>;
  /** The directories of a committed snapshot and of all below it, the nearest first. @throws not_found */
  layers(ns: string, name: string): string[];
  /** Takes it out of `lease`, if given. @throws not_found; failed_precondition while others have it as their parent. */
  remove(ns: string, key: string, lease?: string): Promise<void>;
  /** @throws not_found */
  stat(ns: string, key: string): SnapshotInfo;
  /** Replaces labels, as fieldpaths name them. @throws not_found; invalid_argument for '' and any other path. */
  update(ns: string, key: string, labels: Labels, fieldpaths?: readonly string[]): SnapshotInfo;
  /**
   * Snapshots that match any of the filters, by name; read bit by bit, so that a long list can be taken in turns.
   * @throws invalid_argument for a bad filter.
   */
  list(ns: string, filters?: readonly string[]): Iterable<SnapshotInfo>;
  /** Counted anew for active snapshots, remembered for committed ones; a view holds nothing. @throws not_found */
  usage(ns: string, key: string): Promise<SnapshotUsage>;
  /** Frees the disk space of removed snapshots. */
  cleanup(): Promise<void>;
}
