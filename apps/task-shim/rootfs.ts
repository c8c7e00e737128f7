import { BerthError } from '#common/errors.ts';
import { type FsMount, mountOn } from '#common/mount.ts';
import { removeView } from '#common/mount-idmapped.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** One mount of a Create request. */
export type RootfsMount = FsMount;

/** Mounts all on `rootfs`, in order; when one fails, those before it are undone. */
export function mountRootfs(mounts: readonly RootfsMount[], rootfs: string): void {
  try {
    for (const one of mounts) mountOn(one, rootfs);
  } catch (error) {
    unmountRootfs(rootfs);
    throw BerthError.from(error, 'mount rootfs');
  }
}

/** Unmounts what is on `rootfs`, layer by layer; a busy mount is detached. Nothing mounted is no error. */
export function unmountRootfs(rootfs: string): void {
  removeView(rootfs);
  for (;;) {
    try {
      umount(rootfs, MNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      if (hasErrno(error, 'EINVAL', 'ENOENT', 'ENOTDIR')) return;
      if (!hasErrno(error, 'EBUSY')) throw BerthError.from(error, 'unmount rootfs');
      umount(rootfs, MNT.UMOUNT_NOFOLLOW | MNT.DETACH);
    }
  }
}
