import { readlinkSync } from 'node:fs';
import { close, O, open, openat2, RESOLVE } from '#common/native/index.ts';

/**
 * The place on the host of `path` below a mounted `root`. Links below the root lead to places below it, whatever they
 * say (CVE-2022-23648).
 *
 * @throws errno, such as ENOENT
 */
export function pathInRoot(root: string, path: string): string {
  const rootFd = open(root, O.PATH | O.DIRECTORY, 0);
  try {
    const fd = openat2(rootFd, path, O.PATH, 0, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      close(fd);
    }
  } finally {
    close(rootFd);
  }
}
