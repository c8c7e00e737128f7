import { readdirSync, readlinkSync } from 'node:fs';
import type { CgroupFolders } from '#common/cgroup/folders.ts';
import { linesOf } from '#common/cgroup/kernel-files.ts';
import { readTextIfThere } from '#common/native/files.ts';

/** What the processes of a cgroup hold open. Those that end meanwhile don't count. */
export interface ProcessFigures {
  readonly processes: bigint;
  readonly descriptors: bigint;
  readonly sockets: bigint;
}

export function processFigures(cgroup: CgroupFolders): ProcessFigures {
  const folder = cgroup.version === 2 ? cgroup.folder : (cgroup.folders.get('pids') ?? cgroup.folders.get('memory'));
  const pids = linesOf(folder === undefined ? undefined : readTextIfThere(`${folder}/cgroup.procs`));
  let [descriptors, sockets] = [0n, 0n];
  for (const pid of pids) {
    for (const target of openFiles(pid)) {
      descriptors++;
      if (target.startsWith('socket:')) sockets++;
    }
  }
  return { processes: BigInt(pids.length), descriptors, sockets };
}

/** The soft limit of a process on open files (proc_pid_limits(5)); undefined when it is gone, or has none. */
export function openFilesLimit(pid: number): bigint | undefined {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readTextIfThere(`/proc/${pid}/limits`) ?? '') ?? [];
  return soft === undefined ? undefined : BigInt(soft);
}

function openFiles(pid: string): string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).flatMap((fd) => {
      try {
        return [readlinkSync(`${folder}/${fd}`)];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}
