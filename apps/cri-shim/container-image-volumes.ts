import { BerthError } from '#common/errors.ts';
import type { CriMount } from './cri-types.ts';
import { pathInImage, volumeKey } from './image-volumes.ts';
import type { Runtime } from './runtime.ts';
import { labelled } from './selinux/labelled.ts';
import type { Undo } from './undo.ts';

/** The mounts of a container, as its status tells of them and as its spec has them. */
interface PreparedMounts {
  /** With the id of each image (CRI ImageSpec.image_ref). */
  readonly told: CriMount[];
  /** With the place of each image on the host. */
  readonly mounted: CriMount[];
}

interface ImageVolumesWanted {
  readonly id: string;
  readonly mounts: readonly CriMount[];
  /** Of the snapshots. */
  readonly labels: Record<string, string>;
  /** SELinux label of the container's files. */
  readonly mountLabel: string | undefined;
}

/**
 * Mounts the images that a container has as volumes.
 *
 * @throws not_found for an image that isn't there; invalid_argument for one that is to be writable, or a bad sub path
 */
export async function prepareImageVolumes(
  rt: Runtime,
  undo: Undo,
  { id, mounts, labels, mountLabel }: ImageVolumesWanted,
): Promise<PreparedMounts> {
  const told: CriMount[] = [];
  const mounted: CriMount[] = [];
  for (const [index, mount] of mounts.entries()) {
    if (mount.image === null) {
      told.push(mount);
      mounted.push(mount);
      continue;
    }
    const refuse = (why: string) => new BerthError('invalid_argument', `mount ${mount.containerPath}: ${why}`);
    if (mount.hostPath !== '') throw refuse('host_path and image exclude each other');
    if (!mount.readonly) throw refuse('an image volume must be readonly');
    const image = await rt.images.resolve(mount.image.image);
    const key = volumeKey(id, index);
    undo.add('remove an image volume', async () => {
      await rt.volumes.remove(id);
      await rt.core.removeSnapshot(key);
    });
    const snapshot = await rt.core.viewSnapshot(key, image.chainId, labels);
    const root = await rt.volumes.mount(
      id,
      String(index),
      mountLabel === undefined ? snapshot : labelled(snapshot, mountLabel),
    );
    told.push({ ...mount, image: { ...mount.image, imageRef: image.id } });
    // The snapshot shows the pod's ids by itself, and nobody may write labels into it.
    mounted.push({
      ...mount,
      selinuxRelabel: false,
      hostPath: pathInImage(root, mount.imageSubPath),
      uidMappings: [],
      gidMappings: [],
    });
  }
  return { told, mounted };
}

/** Gives back what `prepareImageVolumes` made. */
export async function removeImageVolumes(rt: Runtime, id: string, mounts: readonly CriMount[]): Promise<void> {
  if (!mounts.some(({ image }) => image !== null)) return;
  await rt.volumes.remove(id);
  for (const [index, { image }] of mounts.entries()) {
    if (image !== null) await rt.core.removeSnapshot(volumeKey(id, index));
  }
}
