import { setTimeout as sleep } from 'node:timers/promises';
import type { CpuAccount } from '../cpu-account.ts';
import { proportionalMiB } from '../memory.ts';

const INTERVAL_MS = 25;

/** The most memory that all processes of an account had together while `work` ran, in MiB, looked at every 25 ms. */
export async function peakMemory(account: CpuAccount, work: () => Promise<unknown>): Promise<number> {
  let peak = 0;
  let working = true;
  const watch = async (): Promise<void> => {
    while (working) {
      peak = Math.max(
        peak,
        account.pids().reduce((sum, pid) => sum + memoryOf(pid), 0),
      );
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
  return peak;
}

/** Nothing for a process that has ended meanwhile. */
function memoryOf(pid: number): number {
  try {
    return proportionalMiB(pid);
  } catch {
    return 0;
  }
}
