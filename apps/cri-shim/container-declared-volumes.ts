import { posix } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { SnapshotMounts } from './core-client/types.ts';
import type { Runtime } from './runtime.ts';
import type { PodMount } from './spec/mounts.ts';
import type { Undo } from './undo.ts';

interface Declared {
  readonly id: string;
  /** Paths in the container, as the image gives them. */
  readonly paths: readonly string[];
  /** Where the pod mounts something itself. */
  readonly taken: readonly string[];
  readonly rootfs: SnapshotMounts;
}

/**
 * Makes the volumes that a container's image declares (`Volumes` of its configuration), but for those in whose place the
 * pod mounts something.
 *
 * @throws invalid_argument for a path that can't be a volume
 */
export async function prepareDeclaredVolumes(
  rt: Runtime,
  undo: Undo,
  { id, paths, taken, rootfs }: Declared,
): Promise<PodMount[]> {
  const others = new Set(taken.map(cleanPath));
  const wanted = [...new Set(paths.map(cleanPath))].filter((path) => !others.has(path)).sort();
  if (wanted.includes('/')) throw new BerthError('invalid_argument', 'the image declares its root as a volume');
  if (wanted.length === 0) return [];
  undo.add("remove the image's volumes", async () => {
    await rt.volumes.remove(id);
    await rt.declaredVolumes.remove(id);
  });
  // Read-only: otherwise the kernel would sync the whole file system when this is unmounted.
  const readonly = rootfs.map((mount) => ({ ...mount, options: [...mount.options, 'ro'] }));
  const mounted = await rt.volumes.mount(id, 'rootfs', readonly);
  const mounts: PodMount[] = [];
  for (const [index, containerPath] of wanted.entries()) {
    const hostPath = await rt.declaredVolumes.create(id, index, mounted, containerPath);
    mounts.push({ containerPath, hostPath, readonly: false, selinuxRelabel: true });
  }
  await rt.volumes.remove(id);
  return mounts;
}

function cleanPath(path: string): string {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}
