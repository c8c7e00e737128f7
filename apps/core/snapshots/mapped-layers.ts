import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mountOn } from '#common/mount.ts';
import { removeView } from '#common/mount-idmapped.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

const probeId = 65_534;

/**
 * Whether the kernel and the file system of `folder` can show the layers of an overlay with other owners: tried out, in a
 * folder of its own there, since kernels, file systems and rights all have a say in it.
 */
export function canMapLayers(folder: string): boolean {
  const dir = join(folder, 'probe-mapped-layers');
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
    string,
  ];
  const map = `0:${probeId}:1`;
  const options = [`uidmap=${map}`, `gidmap=${map}`, `workdir=${work}`, `upperdir=${upper}`, `lowerdir=${lower}`];
  try {
    // A daemon that was killed here may have left its own.
    clear(dir, merged);
    for (const path of [lower, upper, work, merged]) mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(lower, 'file'), '');
    mountOn({ type: 'overlay', source: 'overlay', target: '', options }, merged);
    return statSync(join(merged, 'file')).uid === probeId;
  } catch {
    return false;
  } finally {
    clear(dir, merged);
  }
}

function clear(dir: string, merged: string): void {
  try {
    umount(merged, MNT.DETACH | MNT.UMOUNT_NOFOLLOW);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL', 'ENOENT', 'EPERM')) throw error;
  }
  removeView(merged);
  rmSync(dir, { recursive: true, force: true });
}
