import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { BerthError, messageOf } from '#common/errors.ts';
import type { LowerQuestion, LowerReply } from '../unpack/apply-protocol.ts';
import { copyLower, lookupLower } from '../unpack/lower-lookup.ts';

/** What every process that works on a layer may say; anything but `progress` is its last word on the job. */
interface Message {
  readonly type: string;
}

/** What the questions of the process are answered from. */
export interface LayersBelow {
  /** Directories of the layers, the nearest first; asked with each question, which waits for them. */
  readonly lowers: () => readonly string[] | Promise<readonly string[]>;
  /** The layer that the process writes, if it does. */
  readonly root?: string;
}

const MAX_STDERR = 4096;

/**
 * A network namespace of its own, with nothing in it, and bounded memory: each program gives way to the next, so that
 * all threads are confined. Node alone counts 570 MiB as data, of which it uses 40.
 */
const CONFINED = ['--net', '--', 'prlimit', `--data=${1536 * 1024 * 1024}`, '--core=0', '--'];
const NODE_OPTIONS = ['--no-warnings', '--max-old-space-size=512'];

/**
 * A process that reads or writes one layer at a time with the layer as its root directory: no name and no symlink in
 * there leads out of it. It hears its jobs on standard input and speaks on descriptor 3, one JSON text a line; standard
 * output is for data. It has no network, a limit of memory, and ends by itself when berthd does.
 */
export class LayerProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #closed: Promise<unknown>;
  #failure: Error | undefined;
  #stderr = '';

  /** @param cacheDir private directory for compiled code, which takes two thirds off the start. */
  constructor(program: string, cacheDir: string | undefined) {
    this.#child = spawn('unshare', [...CONFINED, process.execPath, ...NODE_OPTIONS, program], {
      cwd: '/',
      env: { PATH: process.env.PATH, BERTH_NATIVE: process.env.BERTH_NATIVE, NODE_COMPILE_CACHE: cacheDir },
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    // It may die before it is used; that is found out when it is.
    this.#child.on('error', (error) => {
      this.#failure = error;
    });
    this.#input.on('error', () => {});
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(0, MAX_STDERR);
    });
    this.#closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#lines = createInterface(this.#child.stdio[3] as Readable)[Symbol.asyncIterator]();
  }

  /** Also right when it has ended and this process has yet to hear of it. */
  get alive(): boolean {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return false;
    // Nobody else collects it, so the pid is its own: "pid (name) state …", proc(5).
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  }

  /** What it writes to its standard output. */
  get data(): Readable {
    return this.#child.stdout as Readable;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Kills it and waits until nothing is left of it: no file that it had open keeps a file system busy. */
  async end(): Promise<void> {
    this.kill();
    await this.#closed;
  }

  /**
   * Gives it a job, answers its questions about the layers below, and answers its last word on it.
   * @param told hears what it says before its last word.
   * @throws aborted when it ended without one.
   */
  async run<M extends Message>(
    job: unknown,
    below: LayersBelow,
    told?: (progress: Extract<M, { readonly type: 'progress' }>) => void,
  ): Promise<Exclude<M, { readonly type: 'progress' }>> {
    this.#send(job);
    for (;;) {
      const { done, value: line } = await this.#lines.next();
      if (done) throw await this.#failed();
      const message = JSON.parse(line) as M | LowerQuestion;
      if (isQuestion(message)) this.#send(await answer(below, message));
      else if (isProgress<M>(message)) told?.(message);
      else return message as Exclude<M, { readonly type: 'progress' }>;
    }
  }

  async #failed(): Promise<BerthError> {
    await this.#closed;
    if (this.#failure !== undefined) return BerthError.from(this.#failure, 'start the process that works on the layer');
    const { exitCode, signalCode } = this.#child;
    const how = signalCode === null ? `exited with status ${exitCode}` : `was killed by ${signalCode}`;
    const said = this.#stderr === '' ? '' : `: ${this.#stderr.trim()}`;
    return new BerthError('aborted', `the process working on the layer ${how}${said}`);
  }

  get #input(): Writable {
    return this.#child.stdin as Writable;
  }

  #send(message: unknown): void {
    this.#input.write(`${JSON.stringify(message)}\n`);
  }
}

function isQuestion(message: Message): message is LowerQuestion {
  return message.type === 'lookup' || message.type === 'copy';
}

function isProgress<M extends Message>(message: Message): message is Extract<M, { readonly type: 'progress' }> {
  return message.type === 'progress';
}

async function answer({ lowers, root }: LayersBelow, { type, path }: LowerQuestion): Promise<LowerReply> {
  try {
    if (type === 'lookup') return { entry: await lookupLower(await lowers(), path) };
    if (root === undefined) throw new BerthError('internal', 'there is no layer to copy to');
    return { entry: await copyLower(await lowers(), path, root) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}
