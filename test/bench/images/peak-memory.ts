import { setTimeout as sleep } from 'node:timers/promises';
import type { CpuAccount } from '../cpu-account.ts';
import { proportionalMiB } from '../memory.ts';

const INTERVAL_MS = 25;

export interface PeakMemory {
  readonly all: number;
  /** Without the processes that were to be left out. */
  readonly core: number;
}

/**
 * The most memory that the processes of an account had together while `work` ran, in MiB, looked at every 25 ms.
 * @param apart left out of the second figure.
 */
export async function peakMemory(
  account: CpuAccount,
  apart: readonly number[],
  work: () => Promise<unknown>,
): Promise<PeakMemory> {
  let [all, core] = [0, 0];
  let working = true;
  const watch = async (): Promise<void> => {
    while (working) {
      const of = account.pids().map((pid) => [pid, memoryOf(pid)] as const);
      all = Math.max(all, sum(of));
      core = Math.max(core, sum(of.filter(([pid]) => !apart.includes(pid))));
      await sleep(INTERVAL_MS);
    }
  };
  const watching = watch();
  try {
    await work();
  } finally {
    working = false;
    await watching;
  }
  return { all, core };
}

function sum(memory: readonly (readonly [pid: number, mib: number])[]): number {
  return memory.reduce((total, [, mib]) => total + mib, 0);
}

/** Nothing for a process that has ended meanwhile. */
function memoryOf(pid: number): number {
  try {
    return proportionalMiB(pid);
  } catch {
    return 0;
  }
}
