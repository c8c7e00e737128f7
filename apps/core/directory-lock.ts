import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { LOCK, native } from '#common/native/index.ts';

/**
 * Makes a directory of the daemon's and keeps every other daemon out of it while this process lives. The lock is the
 * kernel's (flock(2)): it ends with the process, whichever way that ends.
 * @param what what the configuration calls the directory: it is in every message.
 * @throws failed_precondition when another daemon has it; by errno when it can't be made or written.
 */
export function lockDirectory(what: string, directory: string): Disposable {
  const path = join(directory, 'lock');
  let fd: number;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    fd = openSync(path, 'w', 0o600);
  } catch (error) {
    throw BerthError.from(error, `${what} directory ${directory} is unusable (make it writable, or choose another)`);
  }
  try {
    native.setCloexec(fd, true);
    if (!native.flock(fd, LOCK.EXCLUSIVE)) {
      throw new BerthError(
        'failed_precondition',
        `${what} directory ${directory} is in use by another berthd: stop it, or choose another directory`,
      );
    }
  } catch (error) {
    closeSync(fd);
    throw BerthError.from(error);
  }
  return { [Symbol.dispose]: () => closeSync(fd) };
}
