import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { BenchRuntime } from './runtime.ts';

/** Private memory of each of the runtime's shims, in MiB. */
export function shimMemory({ cpu, shim }: BenchRuntime): number[] {
  return cpu
    .pids()
    .filter((pid) => basename(readlinkSync(`/proc/${pid}/exe`)).startsWith(shim))
    .map(privateMiB);
}

/** Private memory of all processes of the runtime, in MiB. */
export function runtimeMemory({ cpu }: BenchRuntime): number {
  return cpu.pids().reduce((sum, pid) => sum + privateMiB(pid), 0);
}

function privateMiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kib = [...text.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
  return kib / 1024;
}
