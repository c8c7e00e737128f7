import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { waitFor } from './wait-for.ts';

/** The same sources are started over and over: Node keeps them compiled. */
const compileCache = join(import.meta.dirname, '../../dist/compile-cache');

export interface DaemonOptions {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Socket that answers once the daemon serves. */
  readonly socket: string;
  /** Output of every run is appended here. */
  readonly logPath: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A daemon under test: started, killed and started again. */
export class Daemon implements AsyncDisposable {
  readonly socket: string;
  readonly #options: DaemonOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  /** What ended the last process. */
  #signal: NodeJS.Signals | null = null;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.socket = options.socket;
  }

  /** Resolves once the socket accepts connections. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const daemon = new Daemon(options);
    await daemon.start();
    return daemon;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.#name} isn't running`);
    return pid;
  }

  /**
   * Under QEMU's emulation V8 now and then aborts while it compiles what strips types (Runtime_WasmTriggerTierUp), as long
   * as Node's compile cache is cold; a script that does nothing else does so, too. There, and only for that, a start is
   * repeated.
   */
  async start(): Promise<void> {
    for (let aborts = 0; ; aborts += 1) {
      try {
        return await this.#start();
      } catch (error) {
        const isAborted = this.#signal === 'SIGTRAP' || this.#signal === 'SIGSEGV';
        if (process.env.BERTH_EMULATED === undefined || !isAborted || aborts === 5) throw error;
      }
    }
  }

  async #start(): Promise<void> {
    const [program, ...args] = this.#options.command as [string, ...string[]];
    mkdirSync(dirname(this.#options.logPath), { recursive: true });
    const log = openSync(this.#options.logPath, 'a');
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache, ...this.#options.env },
    });
    closeSync(log);
    this.#child = child;
    let gone = false;
    this.#exited = new Promise((resolve) => {
      const onGone = (signal: NodeJS.Signals | null): void => {
        gone = true;
        this.#child = undefined;
        this.#signal = signal;
        resolve();
      };
      child.once('exit', (_, signal) => onGone(signal));
      child.once('error', () => onGone(null));
    });
    try {
      await waitFor(
        `${this.#name} to serve on ${this.socket}`,
        async () => {
          if (gone)
            throw new Error(`${this.#name} ended while starting${this.#signal === null ? '' : `: ${this.#signal}`}`);
          return accepts(this.socket);
        },
        20_000,
      );
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${String(error)}\n${this.logTail()}`, { cause: error });
    }
  }

  /** SIGTERM, and SIGKILL when that doesn't end it. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await this.#exited;
    clearTimeout(timer);
  }

  /** SIGKILL, as the out-of-memory killer or an operator would. */
  async kill9(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async restartAfterKill9(): Promise<void> {
    await this.kill9();
    await this.start();
  }

  /** All that it has written. */
  log(): string {
    return readFileSync(this.#options.logPath, 'utf8');
  }

  /** The last lines of the log. */
  logTail(lines = 60): string {
    return `--- ${this.#options.logPath}\n${this.log().split('\n').slice(-lines).join('\n')}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #name(): string {
    return basename(this.#options.logPath, '.log');
  }
}

function accepts(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
