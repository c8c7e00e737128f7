import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { type Any, sameType, typeUrls } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';

const MOUNT_POINT = '/sys/fs/cgroup';

/** The cgroup that the runtime options want the shim itself to be in; '' for none. */
export function shimCgroupOf(options: Any | null): string {
  if (options === null || !sameType(options.type_url, typeUrls.runcOptions)) return '';
  return decode('containerd.runc.v1.Options', options.value).shimCgroup;
}

/**
 * Moves a process to a cgroup that is there: in the one hierarchy of cgroup v2, or in each of v1 that has it.
 * @throws invalid_argument for a path that isn't absolute; not_found when no hierarchy has the cgroup.
 */
export function moveToCgroup(pid: number, path: string, mountPoint = MOUNT_POINT): void {
  if (!path.startsWith('/') || normalize(path) !== path) {
    throw new BerthError('invalid_argument', `cgroup "${path}" of the shim must be an absolute path`);
  }
  const unified = existsSync(join(mountPoint, 'cgroup.controllers'));
  const hierarchies = unified ? [mountPoint] : readdirSync(mountPoint).map((name) => join(mountPoint, name));
  const lists = hierarchies.map((root) => join(root, path, 'cgroup.procs')).filter((list) => existsSync(list));
  if (lists.length === 0) throw new BerthError('not_found', `cgroup ${path} of the shim is not there: make it before`);
  try {
    for (const list of lists) writeFileSync(list, String(pid));
  } catch (error) {
    throw BerthError.from(error, `moving the shim to cgroup ${path}`);
  }
}
