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
  /** File of the count of OOM kills. */
  readonly #oom: string | undefined;

  constructor(cgroup: CgroupFolders | undefined) {
    this.folders = cgroup;
    if (cgroup?.version === 2) {
      this.#processes = cgroup.folder;
      this.#oom = `${cgroup.folder}/memory.events`;
    } else if (cgroup?.version === 1) {
      const memory = cgroup.folders.get('memory');
      this.#processes = v1Controllers.map((name) => cgroup.folders.get(name)).find((path) => path !== undefined);
      this.#oom = memory === undefined ? undefined : `${memory}/memory.oom_control`;
    }
  }

  static of(pid: number): Cgroup {
    return new Cgroup(cgroupFoldersOf(pid));
  }

  /** How often the kernel has killed for want of memory in this cgroup; 0 when it can't be told. */
  oomKills(): number {
    if (this.#oom === undefined) return 0;
    const text = readTextIfThere(this.#oom) ?? '';
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
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
