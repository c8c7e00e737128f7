import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { flock, LOCK } from '#common/native/index.ts';

/**
 * Makes a directory of the daemon's own and keeps a second daemon out of it while this process lives.
 *
 * @throws failed_precondition when another daemon has it; by errno when it can't be made or written.
 */
export function lockDirectory(what: string, directory: string): Disposable {
  let fd: number;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    fd = openSync(join(directory, 'lock'), 'w', 0o600);
  } catch (error) {
    throw BerthError.from(error, `${what} directory ${directory} is unusable (make it writable, or choose another)`);
  }
  if (flock(fd, LOCK.EXCLUSIVE)) return { [Symbol.dispose]: () => closeSync(fd) };
  closeSync(fd);
  throw new BerthError(
    'failed_precondition',
    `${what} directory ${directory} is in use by another berth-cri: stop it, or choose another directory`,
  );
}
