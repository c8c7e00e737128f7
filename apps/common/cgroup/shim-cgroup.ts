import { BerthError } from '../errors.ts';
import { isThere, writeKernelFile } from '../native/files.ts';
import { names } from '../native/index.ts';
import { type Any, sameType, typeUrls } from '../typeurl.ts';
import { decode } from '../wire/codec.ts';

const mountPoint = '/sys/fs/cgroup';

/** The cgroup that the runtime options want the shim itself to be in; '' for none. */
export function shimCgroupOf(options: Any | null): string {
  if (options === null || !sameType(options.type_url, typeUrls.runcOptions)) return '';
  return decode('containerd.runc.v1.Options', options.value).shimCgroup;
}

/**
 * Moves a process to a cgroup that is there: in the one hierarchy of cgroup v2, or in each of v1 that has it.
 * @throws invalid_argument for a path that isn't absolute; not_found when no hierarchy has the cgroup.
 */
export function moveToCgroup(pid: number, path: string, root = mountPoint): void {
  if (!/^(?:\/(?!\.{0,2}(?:\/|$))[^/]+)+$/.test(path)) {
    throw new BerthError('invalid_argument', `cgroup "${path}" of the shim must be an absolute path`);
  }
  const hierarchies = isThere(`${root}/cgroup.controllers`) ? [root] : names(root).map((name) => `${root}/${name}`);
  const lists = hierarchies.map((hierarchy) => `${hierarchy}${path}/cgroup.procs`).filter(isThere);
  if (lists.length === 0) throw new BerthError('not_found', `cgroup ${path} of the shim is not there: make it before`);
  try {
    for (const list of lists) writeKernelFile(list, String(pid));
  } catch (error) {
    throw BerthError.from(error, `moving the shim to cgroup ${path}`);
  }
}
