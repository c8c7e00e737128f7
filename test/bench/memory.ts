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

export function privateMiB(pid: number): number {
  return rollup(pid, /^Private_(?:Clean|Dirty): +(\d+) kB$/gm);
}

/** With each shared page divided by the number of processes that have it. */
export function proportionalMiB(pid: number): number {
  return rollup(pid, /^Pss: +(\d+) kB$/gm);
}

function rollup(pid: number, lines: RegExp): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return [...text.matchAll(lines)].reduce((sum, [, kib]) => sum + Number(kib), 0) / 1024;
}
