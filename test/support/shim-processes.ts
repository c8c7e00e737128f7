import { readdirSync } from 'node:fs';
import { readProc } from './leaks.ts';

export interface ShimProcess {
  readonly pid: number;
  /** Of the container. */
  readonly id: string;
}

/** The living shims of a containerd namespace. */
export function shimProcesses(namespace: string): ShimProcess[] {
  return readdirSync('/proc').flatMap((name) => {
    const args = /^\d+$/.test(name) ? argsOf(name) : [];
    const id = args[args.indexOf('-id') + 1];
    return args[0]?.includes('containerd-shim') && args.includes(namespace) && id ? [{ pid: Number(name), id }] : [];
  });
}

/** The processes that a berthd's shims are forked from. */
export function shimTemplates(daemon: number): number[] {
  return readdirSync(`/proc/${daemon}/task`)
    .flatMap((thread) => readProc(daemon, `task/${thread}/children`).split(' '))
    .filter((pid) => pid !== '' && argsOf(pid)[1] === 'template')
    .map(Number);
}

function argsOf(pid: string): string[] {
  return readProc(pid, 'cmdline').split('\0');
}
