import { createHash } from 'node:crypto';
import { join } from 'node:path';

/** Where containerd's shims before 2.3 put their sockets, whatever they are told. */
const CONTAINERD_SOCKET_DIR = '/run/containerd/s';
/** Where ours go when the state directory's path is too long for a socket. */
const SHORT_SOCKET_DIR = '/run/berth/s';
/** sockaddr_un holds 108 bytes, the last of which is NUL. */
const PATH_LIMIT = 107;

/** The folder for shims' sockets: below the state directory if the paths fit. */
export function shimSocketDir(stateDir: string): string {
  const dir = join(stateDir, 's');
  return dir.length + '/'.length + 64 <= PATH_LIMIT ? dir : SHORT_SOCKET_DIR;
}

/** Where our own shim listens: named by the SHA-256 of our address, the namespace and the task's id, as containerd's. */
export function shimSocketPath(socketDir: string, address: string, namespace: string, id: string): string {
  return join(
    socketDir,
    createHash('sha256')
      .update(join(address, namespace, id))
      .digest('hex'),
  );
}

/** Every path at which a task's shim may listen that didn't live to tell its address. */
export function shimSocketPaths(socketDir: string, address: string, namespace: string, id: string): string[] {
  return [socketDir, CONTAINERD_SOCKET_DIR].map((dir) => shimSocketPath(dir, address, namespace, id));
}
