import { readFileSync } from 'node:fs';

/** What /proc says about a process that doesn't end, for the one who has to find out why. */
export function stuckProcess(pid: number): string {
  try {
    const state = /^State:\s*(.+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 'unknown';
    return `process ${pid} is in state ${state}, kernel function ${read(`/proc/${pid}/wchan`) || 'unknown'}`;
  } catch {
    return `process ${pid} is gone, but its shim hasn't reported the end`;
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
