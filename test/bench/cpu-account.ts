import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A cgroup that adds up the CPU time of a runtime: its daemons and everything they start, ended or not. Pods whose
 * cgroup parent is below it count as well.
 */
export class CpuAccount {
  readonly #dir: string;
  readonly #unified: boolean;
  /** Absolute cgroup path, to put pods below. */
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    this.#unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
    this.#dir = join('/sys/fs/cgroup', this.#unified ? '' : 'cpuacct', path);
    mkdirSync(join(this.#dir, 'daemons'), { recursive: true });
  }

  /** Adds a process; what it starts from now on belongs to the account too. */
  add(pid: number): void {
    writeFileSync(join(this.#dir, 'daemons', 'cgroup.procs'), String(pid));
  }

  /** Milliseconds of CPU time so far. */
  usedMs(): number {
    return this.#usedMs(this.#dir);
  }

  /** The same, pods apart: what the runtime itself took. */
  runtimeMs(): number {
    return this.#usedMs(join(this.#dir, 'daemons'));
  }

  #usedMs(dir: string): number {
    if (!this.#unified) return Number(readFileSync(join(dir, 'cpuacct.usage'), 'utf8')) / 1e6;
    const usec = /^usage_usec (\d+)$/m.exec(readFileSync(join(dir, 'cpu.stat'), 'utf8'))?.[1];
    return Number(usec) / 1e3;
  }

  /** Daemons, shims and tools that run now; pods apart. */
  pids(): number[] {
    const list = readFileSync(join(this.#dir, 'daemons', 'cgroup.procs'), 'utf8').trim();
    return list === '' ? [] : list.split('\n').map(Number);
  }
}
