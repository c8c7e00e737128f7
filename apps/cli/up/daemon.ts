import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { connect } from '#common/grpc/client.ts';
import { isLive } from '#common/grpc/socket.ts';
import { makeDirectories } from '#common/make-directories.ts';

/** How to start a daemon. */
export interface DaemonPlan {
  readonly name: string;
  /** Its main module. */
  readonly main: string;
  readonly args: readonly string[];
  /** Where it serves gRPC once it is ready. */
  readonly socket: string;
  /** Its log file; without one it writes where this process does. */
  readonly log?: string;
}

/** Where Node keeps the compiled sources, which halves the time of the next start. */
const compileCache = join(import.meta.dirname, '../../../dist/compile-cache');
const startTimeoutMs = 30_000;
/** A daemon that doesn't end on SIGTERM is killed after this time. */
const stopTimeoutMs = 15_000;

/** A daemon of Berth as a child process. Disposing it stops it; its containers go on. */
export class Daemon implements AsyncDisposable {
  readonly socket: string;
  /** Resolves when the process has ended without having been asked to. */
  readonly ended: Promise<BerthError>;
  readonly #process: ChildProcess;
  readonly #exited: Promise<void>;
  #stopping = false;

  /**
   * Starts the daemon and waits until it serves.
   * @throws BerthError `unavailable` with the end of its log, `already_exists` when its socket is taken, or the signal's
   * reason
   */
  static async start(plan: DaemonPlan, signal: AbortSignal): Promise<Daemon> {
    // Else the other one's answers would be taken for this one's.
    if (await isLive(plan.socket)) {
      throw new BerthError('already_exists', `${plan.name}: another process serves ${plan.socket}; stop it first`);
    }
    const daemon = new Daemon(plan);
    try {
      await daemon.#ready(plan, signal);
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(plan: DaemonPlan) {
    this.socket = plan.socket;
    const output = plan.log === undefined ? 'inherit' : openLog(plan.log);
    // A process group of its own: Ctrl-C reaches this process only, which stops the daemons in their order.
    this.#process = spawn(process.execPath, [plan.main, ...plan.args], {
      stdio: ['ignore', output, output],
      detached: true,
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
    });
    if (typeof output === 'number') closeSync(output);
    const { promise: exited, resolve: setExited } = Promise.withResolvers<void>();
    const { promise: ended, resolve: setEnded } = Promise.withResolvers<BerthError>();
    this.#exited = exited;
    this.ended = ended;
    const onGone = (how: string) => {
      setExited();
      if (!this.#stopping) setEnded(new BerthError('unavailable', `${plan.name} ${how}${logTail(plan.log)}`));
    };
    this.#process.once('error', (error) => onGone(`could not be started: ${error.message}`));
    this.#process.once('exit', (code, name) => onGone(code === null ? `was killed by ${name}` : `ended with ${code}`));
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    this.#process.kill('SIGTERM');
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), stopTimeoutMs);
    await this.#exited;
    clearTimeout(timer);
  }

  async #ready(plan: DaemonPlan, signal: AbortSignal): Promise<void> {
    using channel = connect(plan.socket);
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(BerthError.from(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const failed = this.ended.then((error) => Promise.reject(error));
      await Promise.race([channel.waitReady(startTimeoutMs), failed, aborted.promise]);
    } catch (error) {
      if (signal.aborted || !this.#isRunning()) throw error;
      throw BerthError.from(error, `${plan.name} did not start${logTail(plan.log)}`);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #isRunning(): boolean {
    return this.#process.pid !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }
}

function openLog(path: string): number {
  makeDirectories(dirname(path), 0o711);
  return openSync(path, 'a', 0o600);
}

/** The last lines of a log, for an error message. */
function logTail(path: string | undefined): string {
  if (path === undefined) return '';
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n').slice(-5);
  return ` (its log ${path} ends with:\n${lines.join('\n')})`;
}
