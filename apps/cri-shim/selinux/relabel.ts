import { lstatSync } from 'node:fs';
import { execa } from 'execa';
import { BerthError } from '#common/errors.ts';
import { lsetxattr } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** Whose labels are the system's: with others it would not come up again. The list is that of other container engines. */
const systemFolders = new Set([
  ...['/', '/bin', '/boot', '/dev', '/etc', '/etc/passwd', '/etc/pki', '/etc/shadow', '/home', '/lib', '/lib64'],
  ...['/media', '/opt', '/proc', '/root', '/run', '/sbin', '/srv', '/sys', '/tmp', '/usr', '/var', '/var/lib'],
  ...['/var/log'],
]);

/**
 * Gives a file, or a directory with all in it, an SELinux label. A file system without labels is left as it is.
 *
 * @param path without symbolic links
 * @throws invalid_argument for a path that belongs to the system; what hindered it
 */
export async function relabel(path: string, label: string): Promise<void> {
  if (systemFolders.has(path)) {
    throw new BerthError(
      'invalid_argument',
      `${path} must not get a container's SELinux label: mount a folder below it`,
    );
  }
  try {
    lsetxattr(path, 'security.selinux', Buffer.from(`${label}\0`), 0);
    if (!lstatSync(path).isDirectory()) return;
  } catch (error) {
    if (hasErrno(error, 'ENOTSUP', 'EOPNOTSUPP')) return;
    throw BerthError.from(error, `SELinux label of ${path}`);
  }
  // A volume may hold millions of files: not on this thread.
  const { failed, stderr } = await execa('chcon', ['--recursive', '--no-dereference', '--', label, path], {
    reject: false,
  });
  if (failed) throw new BerthError('internal', `SELinux labels below ${path}: ${String(stderr).split('\n')[0]}`);
}
