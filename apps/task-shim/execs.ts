import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import { writeText } from '#common/native/files.ts';
import { unpackJson } from '#common/typeurl.ts';
import type { Bundle } from './bundle.ts';
import type { Publish } from './events.ts';
import type { Exits } from './exits.ts';
import { type LaunchSurroundings, readPid, TaskProcess } from './process.ts';
import type { Reaper } from './reaper.ts';
import type { ExecRequest } from './requests.ts';
import type { Runc } from './runc.ts';
import { requireState } from './transitions.ts';

/** What execs need of their container. */
export interface ExecHost {
  readonly id: string;
  readonly bundle: Bundle;
  readonly init: TaskProcess;
  readonly runc: Runc;
  readonly reaper: Reaper;
  readonly publish: Publish;
  /** Of a process that is about to be made. */
  readonly surroundings: (id: string) => LaunchSurroundings;
  /** Throws `failed_precondition` while init isn't there. */
  readonly exits: () => Exits;
}

/** The execs of one container, from Exec to Delete. */
export class Execs {
  readonly #host: ExecHost;
  readonly #execs = new Map<string, TaskProcess>();

  constructor(host: ExecHost) {
    this.#host = host;
  }

  add(request: ExecRequest): void {
    const { id, bundle, init, publish } = this.#host;
    const { execId } = request;
    if (this.#execs.has(execId)) throw new BerthError('already_exists', `id ${execId}`);
    requireState(init.state, 'exec in');
    validateIdentifier(execId, 'exec id');
    const spec = unpackJson<object>(request.spec, 'the process of an exec');
    writeText(bundle.execSpec(execId), JSON.stringify({ ...spec, terminal: request.terminal }));
    this.#execs.set(execId, new TaskProcess(execId, request));
    publish('containerd.events.TaskExecAdded', { containerId: id, execId });
  }

  /** Throws `not_found` for an unknown id. */
  get(execId: string): TaskProcess {
    const found = this.#execs.get(execId);
    if (found === undefined) throw new BerthError('not_found', `process does not exist ${execId}`);
    return found;
  }

  all(): TaskProcess[] {
    return [...this.#execs.values()];
  }

  async start(exec: TaskProcess): Promise<number> {
    const { id, bundle, init, runc, reaper, publish, surroundings } = this.#host;
    const { execId } = exec;
    requireState(exec.state, 'start');
    const exits = this.#host.exits();
    if (exits.initIsReaped) throw new BerthError('failed_precondition', `container ${id} init process is not running`);
    requireState(init.state, 'exec in');
    const pidFile = bundle.execPid(execId);
    const specFile = bundle.execSpec(execId);
    const release = reaper.hold();
    exec.markStarted();
    exits.execStarting();
    try {
      await exec.launch(surroundings(execId), pidFile, (stdio) => runc.exec(id, specFile, pidFile, stdio));
      bundle.remove(specFile);
      publish('containerd.events.TaskExecStarted', { containerId: id, execId, pid: exec.pid });
      reaper.onExit(exec.pid, (exit) => exits.execReaped(exec, exit));
      return exec.pid;
    } catch (error) {
      killLeftover(pidFile);
      exec.closeIo();
      exec.markStartFailed();
      exits.execFailed();
      throw BerthError.from(error);
    } finally {
      release();
      bundle.remove(pidFile);
    }
  }

  /** Forgets one that has ended, or was never started. */
  async delete(exec: TaskProcess, drainMs: number): Promise<void> {
    requireState(exec.state, 'delete');
    await exec.drained(drainMs);
    exec.closeIo();
    exec.forget();
    this.#execs.delete(exec.execId);
    this.#host.bundle.remove(this.#host.bundle.execSpec(exec.execId));
  }
}

/** An exec that runs although its start failed, because its terminal couldn't be had. */
function killLeftover(pidFile: string): void {
  try {
    process.kill(readPid(pidFile), 'SIGKILL');
  } catch {
    // The usual case: it never came to be.
  }
}
