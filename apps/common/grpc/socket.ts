import { chmod, lstat, mkdtemp, rename, rmdir, unlink } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { BerthError } from '../errors.ts';
import { makeDirectories } from '../make-directories.ts';
import { errnoOf, hasErrno } from '../node-error.ts';
import { maxSocketPath } from '../paths.ts';

/**
 * Puts a listening unix socket at `path` in one step: `bind` binds it in a private directory beside, then it gets its
 * mode and is renamed into place. So nobody connects before it listens or while its mode is still wide.
 * A socket left behind by a dead process is replaced; one that a live process serves is refused. Disposing the answer
 * removes it.
 * @throws BerthError `already_exists` (a live server), `invalid_argument` (path too long), or by errno
 */
export async function bindSocket(
  path: string,
  mode: number,
  bind: (path: string) => Promise<void>,
): Promise<AsyncDisposable> {
  try {
    makeDirectories(dirname(path), 0o711);
    await removeStale(path);
    const directory = await mkdtemp(join(dirname(path), '.s'));
    const temporary = join(directory, 's');
    try {
      refuseLong(path);
      refuseLong(temporary);
      await bind(temporary);
      await chmod(temporary, mode);
      await rename(temporary, path);
      const { ino } = await lstat(path);
      return { [Symbol.asyncDispose]: () => removeOwn(path, ino) };
    } finally {
      await unlink(temporary).catch(() => undefined);
      await rmdir(directory).catch(() => undefined);
    }
  } catch (error) {
    throw BerthError.from(error, `listen on ${path}`);
  }
}

/** Only our own: a successor may listen on the same path already. */
async function removeOwn(path: string, inode: number): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.ino === inode) await unlink(path).catch(() => undefined);
}

/** Whether a process accepts connections on a unix socket. */
export async function isLive(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const socket = createConnection(path, () => resolve(true));
  socket.once('error', (error) => {
    if (hasErrno(error, 'ECONNREFUSED', 'ENOENT')) resolve(false);
    else reject(error);
  });
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

async function removeStale(path: string): Promise<void> {
  try {
    const stat = await lstat(path);
    if (!stat.isSocket()) throw new BerthError('already_exists', 'a file that is no socket is in the way');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (await isLive(path)) {
    throw new BerthError('already_exists', 'another process serves this socket; stop it or choose another path');
  }
  await unlink(path);
}

function refuseLong(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= maxSocketPath) return;
  throw new BerthError(
    'invalid_argument',
    `the path takes ${length} bytes, more than the ${maxSocketPath} that a unix socket allows; choose a shorter directory`,
  );
}
