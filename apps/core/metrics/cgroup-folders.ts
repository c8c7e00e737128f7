import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { readIfThere } from './kernel-files.ts';

/** The folders of one container's cgroup: one per controller on v1, one for all on v2. */
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
 * Finds the cgroup of a process, by cgroups(7). A hierarchy in which the process sits where the daemon does is left
 * out: the container has no cgroup of its own there, and the figures would be the machine's.
 * @throws not_found when the process is gone or has no cgroup of its own at all.
 */
export async function cgroupFoldersOf(pid: number, { cgroup, proc } = kernelFolders): Promise<CgroupFolders> {
  const [theirs, ours] = await Promise.all([hierarchies(proc, String(pid)), hierarchies(proc, 'self')]);
  const own = [...theirs].filter(([controller, path]) => path !== ours.get(controller));
  const folders = new Map(
    own.map(([controller, path]) => [controller, join(cgroup, controller, path)] as const).filter(isThere),
  );
  const unified = folders.get('');
  folders.delete('');
  if (folders.size > 0) return { version: 1, folders };
  if (unified !== undefined && !theirs.has('memory')) return { version: 2, folder: unified };
  throw new BerthError('not_found', `process ${pid} is gone or has no cgroup of its own`);
}

/** Paths by controller; the unified hierarchy is ''. Controllers that share a v1 mount have a link each beside it. */
async function hierarchies(proc: string, pid: string): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const line of ((await readIfThere(join(proc, pid, 'cgroup'))) ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined || controllers.startsWith('name=')) continue;
    for (const controller of controllers.split(',')) paths.set(controller, path);
  }
  return paths;
}

function isThere([, folder]: readonly [string, string]): boolean {
  return existsSync(folder);
}
