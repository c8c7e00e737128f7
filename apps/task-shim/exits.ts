import { timestampFromDate } from '#common/timestamp.ts';
import type { Bundle } from './bundle.ts';
import type { Cgroup } from './cgroup.ts';
import type { Publish } from './events.ts';
import type { ShimLog } from './log.ts';
import { OomWatch } from './oom-watch.ts';
import type { TaskProcess } from './process.ts';
import type { Exit } from './reaper.ts';

/**
 * In which order the exits of one container are told.
 *
 * Invariants: a process's start is published before its exit; of all exits of a container, init's is published
 * last; an exit is published once, and its waiters are released with it; a kill for want of memory is told before
 * the exit that it caused.
 */
export class Exits {
  readonly #id: string;
  readonly #bundle: Bundle;
  readonly #init: TaskProcess;
  readonly #publish: Publish;
  readonly #log: ShimLog;
  readonly #cgroup: Cgroup;
  readonly #oom: OomWatch;
  /** Execs whose start was begun and whose exit isn't published. */
  #runningExecs = 0;
  /** Init has been reaped; its exit may have to wait for other events. */
  #initExit: Exit | undefined;
  #initIsStarting = false;
  #othersKilled = false;

  constructor(id: string, bundle: Bundle, init: TaskProcess, cgroup: Cgroup, publish: Publish, log: ShimLog) {
    this.#id = id;
    this.#bundle = bundle;
    this.#init = init;
    this.#cgroup = cgroup;
    this.#publish = publish;
    this.#log = log;
    this.#oom = new OomWatch(cgroup.folders, () => publish('containerd.events.TaskOOM', { containerId: id }));
    this.#attempt('watch for want of memory', () => this.#oom.start());
  }

  /** From here on no exec may be started, though the state may still be running. */
  get initIsReaped(): boolean {
    return this.#initExit !== undefined;
  }

  /** Init's start is being made known: its exit waits for `initStarted`. */
  initStarting(): void {
    this.#initIsStarting = true;
  }

  initStarted(): void {
    this.#initIsStarting = false;
    this.#tellInit();
  }

  initReaped(exit: Exit): void {
    this.#initExit = exit;
    this.#tellInit();
  }

  /** An exec's start was begun: either `execReaped` or `execFailed` must follow. */
  execStarting(): void {
    this.#runningExecs++;
  }

  execFailed(): void {
    this.#runningExecs--;
    this.#tellInit();
  }

  execReaped(exec: TaskProcess, exit: Exit): void {
    this.#tell(exec, exec.execId, exit);
    this.#runningExecs--;
    this.#tellInit();
  }

  /** Nothing of the container is watched any more. */
  close(): void {
    this.#oom.close();
  }

  /** Called after everything that init's exit may have had to wait for. */
  #tellInit(): void {
    const exit = this.#initExit;
    if (exit === undefined || this.#initIsStarting || this.#init.exit !== undefined) return;
    this.#killOthers();
    if (this.#runningExecs > 0) return;
    this.#tell(this.#init, this.#id, exit);
    this.close();
  }

  /** Without a pid namespace of its own, a container's other processes outlive init. */
  #killOthers(): void {
    if (this.#othersKilled) return;
    this.#othersKilled = true;
    this.#attempt("kill what outlived the container's init", () => {
      if (this.#bundle.sharesPidNamespace()) this.#cgroup.killAll();
    });
  }

  #tell(ended: TaskProcess, id: string, exit: Exit): void {
    const isInit = ended === this.#init;
    // A command that has ended well wasn't killed; what else was, the kernel wakes us for.
    if (isInit || exit.status !== 0) this.#attempt('count kills for want of memory', () => this.#oom.look());
    ended.markEnded(exit);
    const fields = { id: this.#id, execId: ended.execId, pid: exit.pid, status: exit.status };
    // Probes end every few seconds.
    if (isInit) this.#log.info('exited', fields);
    else this.#log.debug('exited', fields);
    this.#publish('containerd.events.TaskExit', {
      containerId: this.#id,
      id,
      pid: exit.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromDate(new Date(exit.at)),
    });
  }

  #attempt(what: string, step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#log.warn(what, error, { id: this.#id });
    }
  }
}
