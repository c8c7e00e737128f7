import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BerthError } from '#common/errors.ts';

const run = promisify(execFile);

/** More messages than this say nothing new. */
const maxMessages = 16 * 1024;

/**
 * Copies a directory with all below it to a path that isn't there yet: owners, modes, times to the nanosecond, extended
 * attributes, devices, FIFOs, and links between files of the tree. Blocks are shared where the file system can, holes
 * stay holes. By cp(1) of GNU coreutils, in a process of its own: no file passes through the daemon.
 * @throws internal with the first of cp's messages; whatever was copied is left behind.
 */
export async function copyTree(from: string, to: string): Promise<void> {
  const options = ['--archive', '--reflink=auto', '--sparse=auto', '--no-target-directory'];
  try {
    await run('cp', [...options, '--', from, to], {
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
      maxBuffer: maxMessages,
    });
  } catch (cause) {
    const stderr = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : '';
    const [first = ''] = stderr.split('\n', 1);
    throw new BerthError(
      'internal',
      `copy ${from} to ${to}: ${first === '' ? BerthError.from(cause).message : first}`,
      {
        cause,
      },
    );
  }
}
