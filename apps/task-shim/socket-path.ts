import { BerthError } from '#common/errors.ts';
import { makeFolders, removeFile } from '#common/native/files.ts';
import { close, unixConnect } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** Bun's hasher; node:crypto takes 10 ms of CPU to load, which is more than all the rest of `start`. */
declare const Bun: {
  CryptoHasher: new (algorithm: 'sha256') => { update(text: string): { digest(encoding: 'hex'): string } };
};

/** containerd's own place; its tests dial a shim there. */
const defaultFolder = '/run/containerd/s';

/** Where this shim's sockets go: BERTH_SHIM_SOCKET_DIR, what the daemon asks for, or containerd's folder. Made if missing. */
export function socketFolder(asked = ''): string {
  const folder = process.env.BERTH_SHIM_SOCKET_DIR || asked || defaultFolder;
  makeFolders(folder, 0o711);
  return folder;
}

/** As containerd names a shim's socket: the SHA-256 of the daemon's address, the namespace and the id, as a path. */
export function shimSocket(folder: string, address: string, namespace: string, id: string): string {
  const path = `${address}/${namespace}/${id}`.replace(/\/{2,}/g, '/');
  return `${folder}/${new Bun.CryptoHasher('sha256').update(path).digest('hex')}`;
}

/** Whether a shim listens there. A socket that a dead one left is removed. */
export function isServed(socket: string): boolean {
  try {
    close(unixConnect(socket));
    return true;
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ECONNREFUSED')) throw BerthError.from(error, 'look for a shim');
    if (hasErrno(error, 'ECONNREFUSED')) removeFile(socket);
    return false;
  }
}
