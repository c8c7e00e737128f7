import { readdirSync, readFileSync } from 'node:fs';

/** Milliseconds of CPU that the threads of a process have had which are alive, exact (proc(5), `schedstat`). */
export function threadsMs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
    return sum + Number(nanoseconds) / 1e6;
  }, 0);
}

/** Milliseconds of CPU of a process's children that it has waited for, and theirs, in steps of 10 (`cutime`, `cstime`). */
export function childrenMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}
