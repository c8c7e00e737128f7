import { BerthError, isCode } from '#common/errors.ts';
import { readText, removeFile } from '#common/native/files.ts';
import { close, memfd, spawn } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { SavedRuntime } from './bundle.ts';
import { descendantsOf, sendSignal } from './process-family.ts';
import type { Exit, Reaper } from './reaper.ts';
import { openNull } from './stdio.ts';

/** Where `create` and `exec` get a process's stdio from: descriptors, or a socket for the terminal. */
export type ProcessStdio = { readonly fds: readonly [number, number, number] } | { readonly consoleSocket: string };

export interface CreateFlags {
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
}

/** The folders of a restore. */
export interface RestoreImages {
  readonly path: string;
  /** Of the checkpoint before it, relative to `path`; empty for none. */
  readonly parent: string;
  readonly work: string;
}

interface RunOptions {
  /** Its stdio; else /dev/null, and memory that is read for what it says. */
  readonly fds?: readonly number[];
  readonly signal?: AbortSignal | undefined;
  readonly env?: readonly string[];
}

const sigkill = 9;
/** A runtime that is killed half way may leave a cgroup: on a busy machine it needs seconds. */
const abortGraceMs = 10_000;

/** Variables that are the shim's own, or that would make the OCI runtime talk to somebody else's systemd unit. */
const privateVariables = /^(?:BUN_|BERTH_|MIMALLOC_|NOTIFY_SOCKET$|LISTEN_FDS$|LISTEN_PID$|LISTEN_FDNAMES$)/;

/**
 * What an OCI runtime gets of the shim's environment, as "K=V". runc has nothing to do side by side: with a second
 * processor its Go runtime wakes threads that find no work, in runc and in the `runc init` that it passes the variable on
 * to, for a twentieth of the time of an exec. Containers never see it. The value that the shim itself has is the daemon's,
 * meant for shims in Go, and no operator's: who wants another for the runtime names a program that sets it.
 */
export function runtimeEnvironment(env: NodeJS.ProcessEnv): string[] {
  const kept = Object.entries({ ...env, GOMAXPROCS: '1' }).filter(([name]) => !privateVariables.test(name));
  return kept.map(([name, value]) => `${name}=${value}`);
}

/**
 * The command line of an OCI runtime: runc, crun, youki (opencontainers/runtime-tools, `command-line-interface.md`).
 *
 * Every failure is a BerthError with the runtime's own words: the last error of its JSON log, else its stderr.
 */
export class Runc {
  readonly runtime: SavedRuntime;
  readonly #folder: string;
  readonly #reaper: Reaper;
  readonly #env: readonly string[];
  #calls = 0;

  /** `folder` takes a log file per call, removed with the call; the runtime works in it, which our own may not outlive. */
  constructor(runtime: SavedRuntime, folder: string, reaper: Reaper) {
    this.runtime = runtime;
    this.#folder = folder;
    this.#reaper = reaper;
    this.#env = runtimeEnvironment(process.env);
  }

  /** After an abort the runtime may go on for a while, so that it ends in order; then it is killed: `canceled`. */
  async create(
    id: string,
    bundle: string,
    pidFile: string,
    stdio: ProcessStdio,
    flags: CreateFlags,
    signal: AbortSignal,
  ): Promise<void> {
    const args = ['create', '--bundle', bundle, '--pid-file', pidFile];
    if (flags.noPivotRoot) args.push('--no-pivot');
    if (flags.noNewKeyring) args.push('--no-new-keyring');
    try {
      await this.#withStdio('OCI runtime create failed', args, id, stdio, signal);
    } catch (error) {
      if (isCode(error, 'canceled')) await this.delete(id, { force: true });
      throw error;
    }
  }

  /** As `create`, but from a checkpoint, and the process runs at once. */
  async restore(
    id: string,
    bundle: string,
    pidFile: string,
    stdio: ProcessStdio,
    flags: CreateFlags,
    images: RestoreImages,
  ): Promise<void> {
    const args = ['restore', '--bundle', bundle, '--pid-file', pidFile, '--detach', '--no-subreaper'];
    args.push('--image-path', images.path, '--work-path', images.work);
    if (images.parent !== '') args.push('--parent-path', images.parent);
    if (flags.noPivotRoot) args.push('--no-pivot');
    await this.#withStdio('OCI runtime restore failed', args, id, stdio);
  }

  /** `args` are those of the command; criu reads `criuConfig`, a file, too (criu(8), CRIU_CONFIG_FILE). */
  async checkpoint(id: string, args: readonly string[], criuConfig: string): Promise<void> {
    const env = [...this.#env, `CRIU_CONFIG_FILE=${criuConfig}`];
    await this.#run('OCI runtime checkpoint failed', ['checkpoint', ...args, id], { env });
  }

  async start(id: string): Promise<void> {
    await this.#run('OCI runtime start failed', ['start', id]);
  }

  /** `specFile` holds the process as JSON. Returns once the process runs, detached. */
  async exec(id: string, specFile: string, pidFile: string, stdio: ProcessStdio): Promise<void> {
    const args = ['exec', '--process', specFile, '--pid-file', pidFile, '--detach'];
    await this.#withStdio('OCI runtime exec failed', args, id, stdio);
  }

  /** A container that the runtime doesn't know is gone: no error. */
  async delete(id: string, options: { force: boolean }): Promise<void> {
    try {
      await this.#run('failed to delete task', ['delete', ...(options.force ? ['--force'] : []), id]);
    } catch (error) {
      if (!(error instanceof BerthError && error.message.includes('does not exist'))) throw error;
    }
  }

  async kill(id: string, signal: number, options: { all: boolean }): Promise<void> {
    await this.#run('OCI runtime kill failed', ['kill', ...(options.all ? ['--all'] : []), id, String(signal)]);
  }

  async pause(id: string): Promise<void> {
    await this.#run('OCI runtime pause failed', ['pause', id]);
  }

  async resume(id: string): Promise<void> {
    await this.#run('OCI runtime resume failed', ['resume', id]);
  }

  /** `resourcesFile` holds the spec's `linux.resources` as JSON. */
  async update(id: string, resourcesFile: string): Promise<void> {
    await this.#run('OCI runtime update failed', ['update', '--resources', resourcesFile, id]);
  }

  async pids(id: string): Promise<number[]> {
    return JSON.parse(await this.#run('OCI runtime ps failed', ['ps', '--format', 'json', id])) as number[];
  }

  async #withStdio(what: string, args: string[], id: string, stdio: ProcessStdio, signal?: AbortSignal): Promise<void> {
    if ('fds' in stdio) await this.#run(what, [...args, id], { fds: stdio.fds, signal });
    else await this.#run(what, [...args, '--console-socket', stdio.consoleSocket, id], { signal });
  }

  /** Runs one command to its end and answers its stdout, which is empty where `fds` are given. */
  async #run(
    what: string,
    args: readonly string[],
    { fds, signal, env = this.#env }: RunOptions = {},
  ): Promise<string> {
    const { binary, root, systemdCgroup, criu } = this.runtime;
    const log = `${this.#folder}/runc-${++this.#calls}.log`;
    const global = ['--root', root, '--log', log, '--log-format', 'json'];
    if (systemdCgroup) global.push('--systemd-cgroup');
    if (criu !== 'criu') global.push('--criu', criu);
    const own = fds === undefined ? [openNull(), memfd('stdout'), memfd('stderr')] : [];
    const [, stdout = -1, stderr = -1] = own;
    try {
      const pid = spawn([binary, ...global, ...args], env, this.#folder, fds ?? own, false);
      const { status } = await this.#exitOf(pid, signal);
      if (status === 0) return stdout < 0 ? '' : readMemory(stdout);
      const said = lastError(log) || (stderr < 0 ? '' : readMemory(stderr).trim()) || `exit status ${status}`;
      throw new BerthError('unknown', `${what}: ${said}`);
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'EACCES')) throw error;
      throw new BerthError('failed_precondition', `${what}: the OCI runtime "${binary}" can't be run`, {
        cause: error,
      });
    } finally {
      for (const fd of own) close(fd);
      removeFile(log);
    }
  }

  /** Throws `canceled` when the runtime had to be killed, with all that it had started, long after an abort. */
  async #exitOf(pid: number, signal: AbortSignal | undefined): Promise<Exit> {
    const exited = this.#reaper.exitOf(pid);
    if (signal === undefined) return exited;
    let timer: NodeJS.Timeout | undefined;
    let killed = false;
    const aborted = (): void => {
      timer = setTimeout(() => {
        killed = true;
        for (const each of [...descendantsOf(pid), pid]) sendSignal(each, sigkill);
      }, abortGraceMs);
    };
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
    try {
      const exit = await exited;
      if (killed) throw new BerthError('canceled', `${this.runtime.binary} hung and was killed`);
      return exit;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', aborted);
    }
  }
}

/** The message of the last line with level "error" in a runtime's JSON log; empty when there is none. */
function lastError(path: string): string {
  let message = '';
  try {
    for (const line of readText(path).split('\n')) {
      if (!line.startsWith('{')) continue;
      const entry = JSON.parse(line) as { level?: string; msg?: string };
      if (entry.level === 'error') message = entry.msg?.trim() ?? '';
    }
  } catch {
    // A runtime that died may leave no log, or half a line: what was read before counts.
  }
  return message;
}

/** From its start, wherever the writer has left the shared position. */
function readMemory(fd: number): string {
  return readText(`/proc/self/fd/${fd}`);
}
