import { isThere, readTextIfThere } from '../native/files.ts';

/** The folders of one container's cgroup: one per hierarchy on v1, one for all on v2. */
export type CgroupFolders =
  | { readonly version: 1; readonly folders: ReadonlyMap<string, string> }
  | { readonly version: 2; readonly folder: string };

/** Where a machine shows its cgroups and processes. */
export interface KernelFolders {
  readonly cgroup: string;
  readonly proc: string;
}

const kernelFolders: KernelFolders = { cgroup: '/sys/fs/cgroup', proc: '/proc' };

/**
 * Finds the cgroup of a process, by cgroups(7), whichever driver made it: `cgroupfs`, or systemd, which has a scope for
 * it. A hierarchy in which the process sits where we do is left out: the container has no cgroup of its own there.
 * undefined when the process is gone or has no cgroup of its own at all.
 */
export function cgroupFoldersOf(pid: number, { cgroup, proc } = kernelFolders): CgroupFolders | undefined {
  const theirs = hierarchies(`${proc}/${pid}`);
  const ours = hierarchies(`${proc}/self`);
  const folders = new Map<string, string>();
  for (const [controller, path] of theirs) {
    const folder = controller === '' ? `${cgroup}${path}` : `${cgroup}/${controller}${path}`;
    if (path !== ours.get(controller) && isThere(folder)) folders.set(controller, folder);
  }
  const unified = folders.get('');
  folders.delete('');
  if (folders.size > 0) return { version: 1, folders };
  return unified === undefined || theirs.has('memory') ? undefined : { version: 2, folder: unified };
}

/**
 * Paths by controller, or by the name of a hierarchy without one; the unified hierarchy is ''. Controllers that share a
 * v1 mount have a link each beside it.
 */
function hierarchies(process: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of (readTextIfThere(`${process}/cgroup`) ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(',')) paths.set(controller.replace(/^name=/, ''), path);
  }
  return paths;
}
