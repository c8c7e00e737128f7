import { BerthError } from '#common/errors.ts';
import { readTextIfThere } from '#common/native/files.ts';
import { folders } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/**
 * Those of `pids` that come from `leader`, without itself: its descendants, and what shares its session, which an
 * orphan still does (an OCI runtime makes every process that it starts the leader of a session).
 */
export function familyOf(leader: number, pids: readonly number[]): number[] {
  const origins = new Map(pids.map((pid) => [pid, originOf(pid)]));
  const family = new Set([leader]);
  for (let size = 0; size < family.size; ) {
    size = family.size;
    for (const [pid, origin] of origins) {
      if (origin !== undefined && (origin.session === leader || family.has(origin.parent))) family.add(pid);
    }
  }
  family.delete(leader);
  return [...family];
}

/** A process's living descendants, from its children down. */
export function descendantsOf(pid: number): number[] {
  const children = threadsOf(pid)
    .flatMap((thread) => (readTextIfThere(`/proc/${pid}/task/${thread}/children`) ?? '').split(' '))
    .filter(Boolean)
    .map(Number);
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}

/** false when the process is gone. */
export function sendSignal(pid: number, signal: number): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (hasErrno(error, 'ESRCH')) return false;
    throw BerthError.from(error, `kill ${pid}`);
  }
}

function threadsOf(pid: number): string[] {
  try {
    return folders(`/proc/${pid}/task`);
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH')) return [];
    throw error;
  }
}

/** proc_pid_stat(5): the name may have any characters, so fields are counted from its closing parenthesis. */
function originOf(pid: number): { parent: number; session: number } | undefined {
  const stat = readTextIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  const [, parent, , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(parent), session: Number(session) };
}
