import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mkfifo } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** FIFOs of one container; absent ones are /dev/null. */
export interface StdioPaths {
  readonly stdin?: string;
  readonly stdout: string;
  readonly stderr?: string;
}

/** The FIFOs between shims and the log writer: `<state>/containers/ID/{stdin,stdout,stderr}`. */
export class Stdio {
  readonly #dir: string;

  constructor(state: string) {
    this.#dir = join(state, 'containers');
  }

  async prepare(): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
  }

  /** With a terminal everything comes through stdout. FIFOs that are there already stay. */
  async create(id: string, options: { readonly tty: boolean; readonly stdin: boolean }): Promise<StdioPaths> {
    const dir = join(this.#dir, id);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const fifo = (name: string) => {
      const path = join(dir, name);
      try {
        mkfifo(path, 0o600);
      } catch (error) {
        if (!hasErrno(error, 'EEXIST')) throw error;
      }
      return path;
    };
    return {
      stdout: fifo('stdout'),
      ...(options.tty ? {} : { stderr: fifo('stderr') }),
      ...(options.stdin ? { stdin: fifo('stdin') } : {}),
    };
  }

  stdinPath(id: string): string {
    return join(this.#dir, id, 'stdin');
  }

  /** Whether the FIFOs of a container are still there. */
  exists(id: string): boolean {
    return existsSync(join(this.#dir, id, 'stdout'));
  }

  async remove(id: string): Promise<void> {
    await rm(join(this.#dir, id), { recursive: true, force: true });
  }

  async ids(): Promise<string[]> {
    return await readdir(this.#dir).catch(() => []);
  }
}
