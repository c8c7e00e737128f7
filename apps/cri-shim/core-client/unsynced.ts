import { release } from 'node:os';
import type { SnapshotMounts } from './types.ts';

/** The first kernel with it. */
const since = [5, 10] as const;

/**
 * A container's root file system, mounted `volatile` (the kernel's Documentation/filesystems/overlayfs.rst): nothing of
 * it is ever synced. Otherwise its unmounting syncs the whole file system below, which can take minutes while images are
 * pulled, and holds up whoever lets go of it last: another container's start, when that has a copy of the mounts.
 *
 * Nothing is lost by it that anybody would look for: a container of CRI starts once, so what it wrote is gone with a
 * crash of the machine. For the same reason it does no harm that the kernel refuses to mount these files again.
 */
export function unsynced(mounts: SnapshotMounts, kernel = release()): SnapshotMounts {
  if (!isKnownTo(kernel)) return mounts;
  return mounts.map((mount) => {
    const isWritten = mount.type === 'overlay' && mount.options.some((option) => option.startsWith('upperdir='));
    return isWritten ? { ...mount, options: [...mount.options, 'volatile'] } : mount;
  });
}

function isKnownTo(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major > since[0] || (major === since[0] && minor >= since[1]);
}
