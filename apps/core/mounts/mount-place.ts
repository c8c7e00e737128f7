import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomic } from '#common/atomic-file.ts';
import { BerthError } from '#common/errors.ts';
import { MNT, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { Activation } from './activation.ts';

const recordName = 'activation.json';

/**
 * The directory of an activation, state/mounts/<number>:
 *
 *     activation.json   the activation, once all of it is mounted
 *     0, 1, …           its mount points, in order
 *
 * It is volatile: a restart of the daemon finds it, a reboot takes it with the mounts.
 */
export class MountPlace {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Makes the mount point for the mount at an index. */
  mountPoint(index: number): string {
    const path = join(this.path, String(index));
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  save(activation: Activation): Promise<void> {
    return writeAtomic(join(this.path, recordName), JSON.stringify(activation));
  }

  /** undefined where the activation didn't come to its end, or its mounts are gone. */
  load(): Activation | undefined {
    const file = join(this.path, recordName);
    if (!existsSync(file)) return undefined;
    const activation = JSON.parse(readFileSync(file, 'utf8')) as Activation;
    const mounted = mountPoints();
    return activation.active.every(({ mountPoint }) => mounted.has(mountPoint)) ? activation : undefined;
  }

  /** Unmounts everything, the last mount first, and removes the directory. What is gone already is no error. */
  clear(): void {
    rmSync(join(this.path, recordName), { force: true });
    const names = existsSync(this.path) ? readdirSync(this.path) : [];
    for (const name of names.filter((entry) => /^\d+$/.test(entry)).sort((a, b) => Number(b) - Number(a))) {
      unmount(join(this.path, name));
    }
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Removes nothing that is still mounted: what lies in there isn't ours. */
function unmount(path: string): void {
  try {
    for (;;) umount(path, MNT.UMOUNT_NOFOLLOW);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL', 'ENOENT')) {
      throw BerthError.from(error, hasErrno(error, 'EBUSY') ? `unmount ${path}, which is in use` : `unmount ${path}`);
    }
  }
  rmdirSync(path);
}

/** Of this mount namespace (proc(5), mountinfo), spaces and the like unescaped. */
function mountPoints(): Set<string> {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const character = (_: string, digits: string) => String.fromCharCode(Number.parseInt(digits, 8));
  return new Set(lines.map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, character)));
}
