import type { Labels } from '#common/labels.ts';
import type { Mount, SnapshotKind } from './snapshotter.ts';

/** Where a snapshot's files are, as its driver sees it. */
export interface SnapshotFiles {
  /** The snapshot's own directory; what it holds is below {@link filesOf}. */
  readonly directory: string;
  readonly kind: SnapshotKind;
  /** Directories of the committed snapshots below, nearest first. */
  readonly parents: readonly string[];
  /** Those that concern drivers: `containerd.io/snapshot.ref` and `containerd.io/snapshot/…`. */
  readonly labels: Labels;
}

/** What makes one snapshotter different from another. A driver keeps no records: {@link DirectorySnapshotter} does. */
export interface SnapshotDriver {
  /** How clients call the snapshotter, `overlayfs`. */
  readonly name: string;
  /** What clients may ask of it, by containerd's words: `remap-ids`. */
  readonly capabilities: readonly string[];
  /**
   * Makes the files of a new snapshot in its directory, which is empty. It has no record yet, nor do those below it have
   * to stay for the time this takes.
   * @throws errno errors; invalid_argument for labels that make no sense.
   */
  fill(files: SnapshotFiles): Promise<void>;
  /**
   * Puts the files of a snapshot that was made without a parent on top of `files.parents`. Absent where they depend on it.
   * @throws errno errors.
   */
  rebase?(files: SnapshotFiles): void;
  /** How to mount an active snapshot or a view. */
  mounts(files: SnapshotFiles): Mount[];
}

/** The directory with what a snapshot holds: all of it that counts as used space. */
export function filesOf(directory: string): string {
  return `${directory}/fs`;
}

/** A bind mount that shows a directory as it is. */
export function bindMount(source: string, access: 'ro' | 'rw', options: readonly string[] = []): Mount {
  return { type: 'bind', source, options: [...options, access, 'rbind'] };
}
