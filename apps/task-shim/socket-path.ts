import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** containerd's own place; its tests dial a shim there. */
const defaultFolder = '/run/containerd/s';

/** Where this shim's sockets go: BERTH_SHIM_SOCKET_DIR, or containerd's folder. Made if missing. */
export function socketFolder(): string {
  const folder = process.env.BERTH_SHIM_SOCKET_DIR || defaultFolder;
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  return folder;
}

/** As containerd names a shim's socket: the SHA-256 of the daemon's address, the namespace and the id. */
export function shimSocket(folder: string, address: string, namespace: string, id: string): string {
  return join(
    folder,
    createHash('sha256')
      .update(join(address, namespace, id))
      .digest('hex'),
  );
}
