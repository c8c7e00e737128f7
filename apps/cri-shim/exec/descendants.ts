import { readFile } from 'node:fs/promises';

/** A process that can't be mistaken for a later one with the same number. */
export interface ProcessMark {
  readonly pid: number;
  /** Clock ticks between boot and its start (proc(5), stat, field 22). */
  readonly startTime: string;
}

/** Whatever has `pid` among its ancestors. Processes that come or go meanwhile may or may not be among the answers. */
export async function descendantsOf(pid: number): Promise<ProcessMark[]> {
  const found: ProcessMark[] = [];
  for (const child of await childrenOf(pid)) {
    const startTime = await startTimeOf(child);
    if (startTime !== undefined) found.push({ pid: child, startTime });
    found.push(...(await descendantsOf(child)));
  }
  return found;
}

/** Sends SIGKILL if the process is still the same. */
export async function killMarked({ pid, startTime }: ProcessMark): Promise<void> {
  if ((await startTimeOf(pid)) !== startTime) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Gone meanwhile.
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

async function startTimeOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}
