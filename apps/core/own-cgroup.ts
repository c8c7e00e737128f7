import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { moveToCgroup } from '#common/cgroup/shim-cgroup.ts';
import { BerthError } from '#common/errors.ts';

const mountPoint = '/sys/fs/cgroup';

/**
 * Makes a cgroup and moves this process to it, as containerd does for its setting `cgroup.path`: in the one hierarchy of
 * cgroup v2, or in that of each controller of v1. Shims begin where the daemon is; containers have cgroups of their own.
 * @throws invalid_argument for a path that isn't absolute; what hindered it, naming the setting.
 */
export function joinCgroup(path: string): void {
  try {
    for (const hierarchy of hierarchies()) makeCgroup(hierarchy, path.split('/').filter(Boolean));
    moveToCgroup(process.pid, path);
  } catch (error) {
    throw BerthError.from(error, 'cgroup.path');
  }
}

function hierarchies(): string[] {
  if (existsSync(join(mountPoint, 'cgroup.controllers'))) return [mountPoint];
  return readdirSync(mountPoint)
    .map((name) => join(mountPoint, name))
    .filter((path) => existsSync(join(path, 'cgroup.procs')) && !isWithoutController(path));
}

/** systemd's own hierarchy, and cgroup v2 beside v1: they say whose a process is, and limit nothing. */
function isWithoutController(path: string): boolean {
  return path.endsWith('/systemd') || existsSync(join(path, 'cgroup.controllers'));
}

function makeCgroup(hierarchy: string, parts: readonly string[]): void {
  let parent = hierarchy;
  for (const part of parts) {
    const path = join(parent, part);
    mkdirSync(path, { recursive: true });
    // A new cpuset of v1 is empty and takes no process.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) inherit(join(parent, file), join(path, file));
    parent = path;
  }
}

function inherit(from: string, to: string): void {
  if (from.startsWith(`${mountPoint}/cpuset`) && readFileSync(to, 'utf8').trim() === '') {
    writeFileSync(to, readFileSync(from));
  }
}
