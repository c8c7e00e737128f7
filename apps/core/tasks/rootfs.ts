import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { Container } from '../containers/store.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';

/** How to mount a task's root file system: as the request says, else as the container's snapshot does, if it has one. */
export async function rootfsMounts(
  namespace: string,
  container: Container,
  requested: readonly WireMount[],
  snapshotter: (name: string) => Pick<Snapshotter, 'mounts'>,
): Promise<WireMount[]> {
  if (requested.length > 0 || container.snapshotKey === '') return [...requested];
  const mounts = await snapshotter(container.snapshotter).mounts(namespace, container.snapshotKey);
  return mounts.map(({ type, source, target = '', options }) => ({ type, source, target, options: [...options] }));
}
