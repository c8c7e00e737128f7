import * as fs from 'node:fs';
import * as native from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { displayPath, fsPath } from './byte-path.ts';

/** A name no layer can hold, since it would be a whiteout: for detours inside the root. */
const DETOUR = '/.wh..berth-detour';

/** Overlayfs keeps its own notes in these; an archive has no say in them. */
const OVERLAY_XATTR = /^(trusted|user)\.overlay\./;

export function isOverlayXattr(name: string): boolean {
  return OVERLAY_XATTR.test(name);
}

/** Makes a device or FIFO. */
export function makeNode(path: string, mode: number, major: number, minor: number): void {
  const name = utf8Name(path);
  native.mknod(name ?? DETOUR, mode, major, minor);
  if (name === undefined) fs.renameSync(DETOUR, fsPath(path));
}

/** Sets an extended attribute; what the file system or the kind of file doesn't support is left out. */
export function setXattr(path: string, name: string, value: Buffer): void {
  try {
    withUtf8Name(path, (text) => native.lsetxattr(text, name, value, 0));
  } catch (error) {
    // user.* exists on files and directories only (xattr(7)).
    const wrongKind = hasErrno(error, 'EPERM') && name.startsWith('user.');
    if (!wrongKind && !hasErrno(error, 'EOPNOTSUPP', 'ENOTSUP')) throw error;
  }
}

/** Extended attributes that a layer has a say in: the rest belongs to the host, as labels of SELinux do. */
const LAYERED = /^(user\.|trusted\.|security\.capability$|system\.posix_acl_(access|default)$)/;

/** Takes away what an earlier layer set and `kept` doesn't have. */
export function pruneXattrs(path: string, kept: ReadonlyMap<string, unknown>): void {
  withUtf8Name(path, (text) => {
    for (const name of native.llistxattr(text)) {
      if (LAYERED.test(name) && !isOverlayXattr(name) && !kept.has(name)) native.lremovexattr(text, name);
    }
  });
}

/** Sets times in nanoseconds, not following symlinks. Node's own call takes a double, which loses the last digits. */
export function setTimes(path: string, atime: bigint, mtime: bigint): void {
  withUtf8Name(path, (text) => native.lutimens(text, ...split(atime), ...split(mtime)));
}

/** Native calls take UTF-8 only: a file of another name is renamed for the time of the call. */
function withUtf8Name(path: string, call: (text: string) => void): void {
  const name = utf8Name(path);
  if (name !== undefined) {
    call(name);
    return;
  }
  fs.renameSync(fsPath(path), DETOUR);
  try {
    call(DETOUR);
  } finally {
    fs.renameSync(DETOUR, fsPath(path));
  }
}

function split(nanoseconds: bigint): [number, number] {
  const fraction = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return [Number((nanoseconds - fraction) / 1_000_000_000n), Number(fraction)];
}

/** The path as text, undefined when it isn't UTF-8. */
function utf8Name(path: string): string | undefined {
  const bytes = fsPath(path);
  if (typeof bytes === 'string') return bytes;
  const text = displayPath(path);
  return Buffer.from(text, 'utf8').equals(bytes) ? text : undefined;
}
