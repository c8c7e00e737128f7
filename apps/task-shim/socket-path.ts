import { makeFolders } from './files.ts';

/** containerd's own place; its tests dial a shim there. */
const defaultFolder = '/run/containerd/s';

/** Where this shim's sockets go: BERTH_SHIM_SOCKET_DIR, or containerd's folder. Made if missing. */
export function socketFolder(): string {
  const folder = process.env.BERTH_SHIM_SOCKET_DIR || defaultFolder;
  makeFolders(folder, 0o711);
  return folder;
}

/**
 * As containerd names a shim's socket: the SHA-256 of the daemon's address, the namespace and the id.
 * Loads Node's modules when called: the serving shim, which is told the path, would only keep them in memory.
 */
export function shimSocket(folder: string, address: string, namespace: string, id: string): string {
  const { createHash } = process.getBuiltinModule('node:crypto');
  const { join } = process.getBuiltinModule('node:path');
  return join(
    folder,
    createHash('sha256')
      .update(join(address, namespace, id))
      .digest('hex'),
  );
}
