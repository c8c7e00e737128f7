import { isCode } from '#common/errors.ts';
import type { FsMount } from '#common/mount.ts';
import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { Container } from '../containers/store.ts';
import type { MountManager } from '../mounts/mount-manager.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';

/** How to mount a task's root file system: as the request says, else as the container's snapshot does, if it has one. */
export async function rootfsMounts(
  namespace: string,
  container: Container,
  requested: readonly WireMount[],
  snapshotter: (name: string) => Pick<Snapshotter, 'mounts'>,
): Promise<FsMount[]> {
  const given = requested.length > 0 || container.snapshotKey === '';
  const mounts = given ? requested : await snapshotter(container.snapshotter).mounts(namespace, container.snapshotKey);
  return mounts.map(({ type = '', source = '', target = '', options = [] }) => ({ type, source, target, options }));
}

/** What a task needs of the mount manager. */
export type RootfsMounts = Pick<MountManager, 'activate' | 'deactivate' | 'info'>;

const activated = /^(format|mkdir|mkfs)\//;

/**
 * Activates, under the task's id, the mounts of a root file system that a shim can't make as they are, and answers those
 * that are left for it. An activation that is there already is used again, as containerd does; the container keeps it.
 */
export async function activateRootfs(
  mounts: RootfsMounts,
  namespace: string,
  id: string,
  rootfs: readonly FsMount[],
): Promise<WireMount[]> {
  if (!rootfs.some(({ type }) => activated.test(type))) return rootfs.map(mountToWire);
  const labels = { 'containerd.io/gc.bref.container': id };
  const request = { ns: namespace, name: id, mounts: rootfs, labels, temporary: false, lease: undefined };
  try {
    return (await mounts.activate(request)).system.map(mountToWire);
  } catch (error) {
    if (!isCode(error, 'already_exists')) throw error;
    return mounts.info(namespace, id).system.map(mountToWire);
  }
}

/** Undoes {@link activateRootfs}; nothing to undo is no error. */
export async function deactivateRootfs(mounts: RootfsMounts, namespace: string, id: string): Promise<void> {
  try {
    await mounts.deactivate(namespace, id);
  } catch (error) {
    if (!isCode(error, 'not_found')) throw error;
  }
}

function mountToWire({ options, ...mount }: FsMount): WireMount {
  return { ...mount, options: [...options] };
}
