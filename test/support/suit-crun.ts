import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount, umount } from '#common/native/index.ts';

/**
 * crun refuses a machine with cgroups v1 whose cgroup2 mount still has a controller. Mounting that controller's own
 * hierarchy takes it away from there; answers what undoes it. A hierarchy that another test mounted is mounted once
 * more, so that it stays when that one is done.
 *
 * crun looks for a controller at its usual place and doesn't ask whether that is a mount: in a folder that a former
 * mount left behind it makes plain files, which nothing removes. So where that folder is there, it is what's mounted
 * on, unless it is mounted already: the kernel refuses the same once more at the same place.
 */
export function suitCrun(dir: string): () => void {
  const unified = '/sys/fs/cgroup/unified/cgroup.controllers';
  if (!existsSync(unified)) return () => undefined;
  const left = readFileSync(unified, 'utf8').trim();
  const known = /^hugetlb\s/m.test(readFileSync('/proc/cgroups', 'utf8'));
  if (left === '' && !known) return () => undefined;
  const controllers = left === '' ? 'hugetlb' : left.replaceAll(' ', ',');
  const usual = `/sys/fs/cgroup/${controllers}`;
  const path = existsSync(usual) && !isMounted(usual) ? usual : join(dir, 'hierarchy');
  mkdirSync(path, { recursive: true });
  mount('cgroup', path, 'cgroup', 0, controllers);
  return () => umount(path, 0);
}

function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} `);
}
