import { type CgroupFolders, cgroupFoldersOf } from '#common/cgroup/folders.ts';
import { isThere, readTextIfThere, writeKernelFile } from '#common/native/files.ts';
import { folders } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** The v1 hierarchies to find a container's processes in, best first. */
const v1Controllers = ['memory', 'pids', 'cpu', 'devices', 'freezer', 'systemd'];

/**
 * The cgroup of one container, looked up while its init lives. Absent parts mean that the container has no cgroup
 * of its own there: the shim never kills in a cgroup that it sits in itself.
 */
export class Cgroup {
  readonly folders: CgroupFolders | undefined;
  readonly #processes: string | undefined;

  constructor(cgroup: CgroupFolders | undefined) {
    this.folders = cgroup;
    this.#processes =
      cgroup?.version === 1
        ? v1Controllers.map((name) => cgroup.folders.get(name)).find((path) => path !== undefined)
        : cgroup?.folder;
  }

  static of(pid: number): Cgroup {
    return new Cgroup(cgroupFoldersOf(pid));
  }

  /** The processes in it and below; undefined when the container has no cgroup of its own. */
  pids(): number[] | undefined {
    return this.#processes === undefined ? undefined : pidsBelow(this.#processes);
  }

  /** Kills what is in it and below, also what forks meanwhile. */
  killAll(): void {
    if (this.#processes === undefined) return;
    const killFile = `${this.#processes}/cgroup.kill`;
    if (isThere(killFile)) {
      writeKernelFile(killFile, '1');
      return;
    }
    // v1 has no such file. A forking process is caught by a later pass; what is dying stays listed until reaped.
    const killed = new Set<number>();
    for (;;) {
      const fresh = pidsBelow(this.#processes).filter((pid) => !killed.has(pid));
      if (fresh.length === 0) return;
      for (const pid of fresh) {
        killed.add(pid);
        try {
          process.kill(pid, 'SIGKILL');
        } catch (error) {
          if (!hasErrno(error, 'ESRCH')) throw error;
        }
      }
    }
  }
}

function pidsBelow(folder: string): number[] {
  const pids = (readTextIfThere(`${folder}/cgroup.procs`) ?? '').split('\n').filter(Boolean).map(Number);
  let children: string[] = [];
  try {
    children = folders(folder);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENODEV')) throw error;
  }
  return pids.concat(...children.map((child) => pidsBelow(`${folder}/${child}`)));
}
