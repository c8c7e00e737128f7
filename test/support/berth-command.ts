import { execFile } from 'node:child_process';
import { expect } from 'vitest';
import type { BerthdSuite } from './berthd-suite.ts';

export const berthMain = new URL('../../apps/cli/main.ts', import.meta.url).pathname;

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `berth` in the namespace of a suite; FIFOs are made below the suite's directory. */
export class BerthCommand {
  readonly #suite: BerthdSuite;

  constructor(suite: BerthdSuite) {
    this.#suite = suite;
  }

  /** The program with the options that every command takes. */
  get words(): string[] {
    const { berthd, namespace } = this.#suite;
    return [process.execPath, berthMain, '--address', berthd.socket, '--namespace', namespace];
  }

  get env(): NodeJS.ProcessEnv {
    return { ...process.env, TMPDIR: this.#suite.dir };
  }

  readonly run = (args: readonly string[], input = ''): Promise<Ended> => {
    const [program = '', ...globals] = this.words;
    return new Promise((resolve) => {
      const child = execFile(program, [...globals, ...args], { env: this.env }, (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
    });
  };

  /** What a command prints that must not fail. */
  readonly text = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await this.run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };

  readonly json = async (...args: string[]): Promise<unknown> => JSON.parse(await this.text('--json', ...args));
}
