import { mkdir } from 'node:fs/promises';
import { copyTree } from './copy-tree.ts';
import { bindMount, filesOf, type SnapshotDriver, type SnapshotFiles } from './driver.ts';
import type { Mount } from './snapshotter.ts';

/**
 * Snapshots as full trees, for file systems that overlayfs can't use: a writable one begins as a copy of the one below. A
 * view of another snapshot has no files of its own.
 */
export class NativeDriver implements SnapshotDriver {
  readonly name = 'native';
  readonly capabilities: readonly string[] = [];

  async fill({ directory, kind, parents }: SnapshotFiles): Promise<void> {
    const [nearest] = parents;
    if (nearest === undefined) await mkdir(filesOf(directory), { mode: 0o755 });
    else if (kind === 'active') await copyTree(filesOf(nearest), filesOf(directory));
  }

  mounts({ directory, kind, parents }: SnapshotFiles): Mount[] {
    const [nearest = directory] = parents;
    return kind === 'active' ? [bindMount(filesOf(directory), 'rw')] : [bindMount(filesOf(nearest), 'ro')];
  }
}
