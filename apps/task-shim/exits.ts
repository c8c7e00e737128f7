import { timestampFromDate } from '#common/timestamp.ts';
import type { Bundle } from './bundle.ts';
import type { Cgroup } from './cgroup.ts';
import type { Publish } from './events.ts';
import type { ShimLog } from './log.ts';
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
  #oomKills = 0;
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

  /** Called after everything that init's exit may have had to wait for. */
  #tellInit(): void {
    const exit = this.#initExit;
    if (exit === undefined || this.#initIsStarting || this.#init.exit !== undefined) return;
    this.#killOthers();
    if (this.#runningExecs === 0) this.#tell(this.#init, this.#id, exit);
  }

  /** Without a pid namespace of its own, a container's other processes outlive init. */
  #killOthers(): void {
    if (this.#othersKilled) return;
    this.#othersKilled = true;
    try {
      if (this.#bundle.sharesPidNamespace()) this.#cgroup.killAll();
    } catch (error) {
      this.#log.warn("kill what outlived the container's init", error, { id: this.#id });
    }
  }

  #tell(ended: TaskProcess, id: string, exit: Exit): void {
    this.#tellOom();
    ended.markEnded(exit);
    this.#log.info('exited', { id: this.#id, execId: ended.execId, pid: exit.pid, status: exit.status });
    this.#publish('containerd.events.TaskExit', {
      containerId: this.#id,
      id,
      pid: exit.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromDate(new Date(exit.at)),
    });
  }

  #tellOom(): void {
    try {
      const kills = this.#cgroup.oomKills();
      if (kills > this.#oomKills) this.#publish('containerd.events.TaskOOM', { containerId: this.#id });
      this.#oomKills = kills;
    } catch (error) {
      this.#log.warn('count OOM kills', error, { id: this.#id });
    }
  }
}
