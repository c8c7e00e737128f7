import { folders } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { isThere, readTextIfThere, writeKernelFile } from './files.ts';

const mountPoint = '/sys/fs/cgroup';

/** The v1 hierarchies to find a container's processes in, best first. */
const v1Controllers = ['memory', 'pids', 'cpu', 'devices', 'freezer', 'systemd'];

/**
 * The cgroup of one container, looked up while its init lives. Absent parts mean that the container has no cgroup
 * of its own there: the shim never kills in a cgroup that it sits in itself.
 */
export class Cgroup {
  readonly #processes: string | undefined;
  /** File and key of the count of OOM kills. */
  readonly #oom: string | undefined;

  private constructor(processes: string | undefined, oom: string | undefined) {
    this.#processes = processes;
    this.#oom = oom;
  }

  static of(pid: number): Cgroup {
    const theirs = hierarchies(pid);
    const ours = hierarchies('self');
    const own = (controller: string): string | undefined => {
      const path = theirs.get(controller);
      if (path === undefined || path === ours.get(controller)) return undefined;
      const folder = `${mountPoint}/${controller}${path}`;
      return isThere(folder) ? folder : undefined;
    };
    const unified = own('');
    if (unified !== undefined && isThere(`${unified}/cgroup.controllers`) && !theirs.has('memory')) {
      return new Cgroup(unified, `${unified}/memory.events`);
    }
    const memory = own('memory');
    const processes = v1Controllers.map(own).find((path) => path !== undefined);
    return new Cgroup(processes, memory === undefined ? undefined : `${memory}/memory.oom_control`);
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

/** Paths by controller from /proc/<pid>/cgroup; the unified hierarchy under ''. */
function hierarchies(pid: number | 'self'): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of (readTextIfThere(`/proc/${pid}/cgroup`) ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(',')) paths.set(controller.replace(/^name=/, ''), path);
  }
  return paths;
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
