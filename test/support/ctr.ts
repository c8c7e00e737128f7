import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { newerContainerd } from './peers.ts';

export interface CtrResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The clients that the tests of `ctr` are run with: Debian's own, and a newer one where it can be had. */
export const ctrKinds = [
  { kind: 'debian', program: 'ctr', missing: undefined },
  { kind: 'newer', program: newerContainerd.command('ctr'), missing: newerContainerd.missing },
] as const;

export interface CtrOptions {
  /** Debian's when it isn't named. */
  readonly program?: string;
  /** Given to its stdin. */
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
}

/** containerd's command line client, talking to the daemon under test. */
export class Ctr {
  readonly #socket: string;
  readonly #namespace: string;
  readonly #dir: string;
  readonly #options: CtrOptions;

  constructor(socket: string, namespace: string, dir: string, options: CtrOptions = {}) {
    this.#socket = socket;
    this.#namespace = namespace;
    this.#dir = dir;
    this.#options = options;
  }

  /** The same client with other input or environment. */
  with(options: CtrOptions): Ctr {
    return new Ctr(this.#socket, this.#namespace, this.#dir, { ...this.#options, ...options });
  }

  /** Runs a command and returns what it printed; throws when it fails. */
  async run(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args);
    if (code !== 0) throw new Error(`ctr ${args.join(' ')}: exit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** Lines of the output without the heading, split into columns. */
  async table(...args: readonly string[]): Promise<string[][]> {
    const lines = (await this.run(...args)).trim().split('\n').slice(1);
    return lines.map((line) => line.trim().split(/\s+/));
  }

  /** Runs a command, whatever its exit code. */
  async try(...args: readonly string[]): Promise<CtrResult> {
    const child = this.start(...args);
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    const [stdout, stderr, code] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      new Promise<number>((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', (exitCode) => resolve(exitCode ?? 137));
      }),
    ]);
    clearTimeout(timer);
    return { code, stdout, stderr };
  }

  /** Begins a command that goes on until it is killed. */
  start(...args: readonly string[]): ChildProcessWithoutNullStreams {
    const [program, ...rest] = this.commandLine(...args) as [string, ...string[]];
    const child = spawn(program, rest, { env: { ...process.env, TMPDIR: this.#dir, ...this.#options.env } });
    // A command that doesn't read its input leaves it.
    child.stdin.on('error', () => undefined).end(this.#options.input ?? '');
    return child;
  }

  /** Program and arguments of a command. */
  commandLine(...args: readonly string[]): string[] {
    return [this.#options.program ?? 'ctr', '--address', this.#socket, '--namespace', this.#namespace, ...args];
  }

  /** `ctr run`, with its FIFOs below the scratch folder. */
  runContainer(...args: readonly string[]): Promise<CtrResult> {
    const fifoDir = join(this.#dir, 'fifo');
    mkdirSync(fifoDir, { recursive: true });
    return this.try('run', '--fifo-dir', fifoDir, ...args);
  }
}

async function text(stream: NodeJS.ReadableStream): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += String(chunk);
  return all;
}
