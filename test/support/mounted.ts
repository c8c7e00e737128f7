import { mkdtempSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Mount } from '../../apps/core/snapshots/snapshotter.ts';
import { mountRootfs, unmountRootfs } from '../../apps/task-shim/rootfs.ts';

/** Mounts a snapshot as the shim does, below `dir`, for as long as `use` takes. */
export function whileMounted<T>(dir: string, mounts: readonly Mount[], use: (path: string) => T): T {
  const path = mkdtempSync(join(dir, 'mnt-'));
  mountRootfs(
    mounts.map((mount) => ({ ...mount, target: mount.target ?? '' })),
    path,
  );
  try {
    return use(path);
  } finally {
    unmountRootfs(path);
    rmdirSync(path);
  }
}
