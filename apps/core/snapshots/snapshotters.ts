import { BerthError } from '#common/errors.ts';
import { DirectorySnapshotter, type SnapshotterParts } from './directory-snapshotter.ts';
import type { SnapshotDriver } from './driver.ts';

/** The snapshotter of clients that name none. */
export const defaultSnapshotter = 'overlayfs';

/** All snapshotters of the daemon, by their names. */
export class Snapshotters {
  readonly all: readonly DirectorySnapshotter[];

  /** Gives each driver the directory `<root>/<name>`. */
  constructor(root: string, drivers: readonly SnapshotDriver[], parts: SnapshotterParts) {
    this.all = drivers.map((driver) => new DirectorySnapshotter(`${root}/${driver.name}`, driver, parts));
  }

  /** @throws invalid_argument for a name that isn't there, as containerd's service answers. */
  named(name: string): DirectorySnapshotter {
    if (name === '') throw new BerthError('invalid_argument', 'snapshotter argument missing');
    const snapshotter = this.all.find((candidate) => candidate.name === name);
    if (snapshotter) return snapshotter;
    const known = this.all.map((candidate) => candidate.name).join(', ');
    throw new BerthError('invalid_argument', `snapshotter not loaded: ${name}: there is ${known}`);
  }

  /** Frees the disk space of removed snapshots. */
  async cleanup(): Promise<void> {
    await Promise.all(this.all.map((snapshotter) => snapshotter.cleanup()));
  }

  /** Ends the deleting in the background; the next start goes on with what is left. */
  close(): void {
    for (const snapshotter of this.all) snapshotter.close();
  }
}
