import { isAbsolute, join, normalize, relative } from 'node:path';
import { BerthError } from '#common/errors.ts';

/**
 * The path of a container's log file from the CRI's two halves, the pod's `log_directory` and the container's
 * `log_path`. undefined when either is empty: the container has no log.
 *
 * @throws `invalid_argument` when the path would leave the pod's directory. (Symbolic links are refused on opening.)
 */
export function confineLogPath(logDirectory: string, logPath: string): string | undefined {
  if (logDirectory === '' || logPath === '') return undefined;
  if (!isAbsolute(logDirectory) || logDirectory.includes('\0')) {
    throw new BerthError('invalid_argument', `log directory ${JSON.stringify(logDirectory)} is not an absolute path`);
  }
  const path = join(logDirectory, logPath);
  const below = relative(normalize(logDirectory), path);
  if (isAbsolute(logPath) || below === '' || below === '..' || below.startsWith('../') || logPath.includes('\0')) {
    throw new BerthError(
      'invalid_argument',
      `log path ${JSON.stringify(logPath)} leaves the pod's log directory ${logDirectory}`,
    );
  }
  return path;
}
