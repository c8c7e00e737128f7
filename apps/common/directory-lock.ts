import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from './errors.ts';
import { makeDirectories } from './make-directories.ts';
import { flock, LOCK } from './native/index.ts';

/**
 * Makes a directory of a daemon's and keeps every other daemon out of it while this process lives. The lock is the
 * kernel's (flock(2)): it ends with the process, whichever way that ends.
 * @param what what the configuration calls the directory: it is in every message
 * @throws BerthError `failed_precondition` when another process has it; by errno when it can't be made or written
 */
export function lockDirectory(what: string, directory: string): Disposable {
  let fd: number;
  try {
    makeDirectories(directory, 0o711);
    fd = openSync(join(directory, 'lock'), 'w', 0o600);
  } catch (error) {
    throw BerthError.from(error, `${what} directory ${directory} is unusable (make it writable, or choose another)`);
  }
  try {
    if (flock(fd, LOCK.EXCLUSIVE)) return { [Symbol.dispose]: () => closeSync(fd) };
    throw new BerthError(
      'failed_precondition',
      `${what} directory ${directory} is in use by another daemon: stop it, or choose another directory`,
    );
  } catch (error) {
    closeSync(fd);
    throw BerthError.from(error);
  }
}
