import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

export interface CtrResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Debian's containerd client, talking to the daemon under test. */
export class Ctr {
  readonly #socket: string;
  readonly #namespace: string;
  readonly #dir: string;

  constructor(socket: string, namespace: string, dir: string) {
    this.#socket = socket;
    this.#namespace = namespace;
    this.#dir = dir;
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

  /** Runs a command, whatever its exit code; `input` goes to its stdin. */
  async try(...args: readonly string[]): Promise<CtrResult> {
    const child = spawn('ctr', ['--address', this.#socket, '--namespace', this.#namespace, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: this.#dir },
    });
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
