import { BerthError } from '#common/errors.ts';
import { writeText } from '#common/native/files.ts';
import { getpid } from '#common/native/index.ts';
import { timestampFromDate } from '#common/timestamp.ts';
import { type Any, unpackJson } from '#common/typeurl.ts';
import { Bundle } from './bundle.ts';
import { Cgroup } from './cgroup.ts';
import type { Publish } from './events.ts';
import { Execs } from './execs.ts';
import { Exits } from './exits.ts';
import type { ShimLog } from './log.ts';
import { runtimeOptions } from './options.ts';
import { type LaunchSurroundings, TaskProcess } from './process.ts';
import type { Reaper } from './reaper.ts';
import type { CreateRequest, ExecRequest } from './requests.ts';
import { mountRootfs, unmountRootfs } from './rootfs.ts';
import { Runc } from './runc.ts';
import type { Owner } from './stdio.ts';
import { requireState } from './transitions.ts';

/** What every container of a shim shares. */
export interface ShimContext {
  readonly namespace: string;
  /** A free path for a short-lived socket, short enough for one. */
  readonly socketPath: () => string;
  readonly reaper: Reaper;
  readonly publish: Publish;
  readonly log: ShimLog;
}

const sigkill = 9;
/** How long Delete waits for a terminal's output to be taken. */
const drainMs = 5000;

/** A container and its processes. `Exits` keeps their events in order. */
export class Container {
  readonly id: string;
  readonly bundle: Bundle;
  readonly init: TaskProcess;
  readonly #context: ShimContext;
  readonly #runc: Runc;
  readonly #owner: Owner;
  readonly #execs: Execs;
  /** Starts init from a checkpoint; there where Create names one. */
  #restore: (() => Promise<void>) | undefined;
  /** There once init lives. */
  #parts: { readonly cgroup: Cgroup; readonly exits: Exits } | undefined;
  #lastOperation: Promise<unknown> = Promise.resolve();

  private constructor(request: CreateRequest, runc: Runc, owner: Owner, context: ShimContext) {
    this.id = request.id;
    this.bundle = new Bundle(request.bundle);
    this.init = new TaskProcess('', request);
    this.#runc = runc;
    this.#owner = owner;
    this.#context = context;
    this.#execs = new Execs({
      id: this.id,
      bundle: this.bundle,
      init: this.init,
      runc,
      reaper: context.reaper,
      publish: context.publish,
      surroundings: (execId) => this.#surroundings(execId),
      exits: () => this.#live().exits,
    });
  }

  /**
   * Mounts the rootfs and lets the OCI runtime create the container. On failure nothing of it is left, nor when the
   * signal aborts meanwhile.
   */
  static async create(request: CreateRequest, context: ShimContext, signal: AbortSignal): Promise<Container> {
    const { runtime, flags, owner, criuWorkPath } = runtimeOptions(request.options, context.namespace);
    const runc = new Runc(runtime, request.bundle, context.reaper);
    const container = new Container(request, runc, owner, context);
    const { bundle, init } = container;
    const release = context.reaper.hold();
    let created = false;
    try {
      bundle.saveRuntime(runtime);
      bundle.saveShimPid(getpid());
      if (request.rootfs.length > 0) {
        bundle.makeRootfs();
        mountRootfs(request.rootfs, bundle.rootfs);
      }
      if (request.checkpoint === '') {
        const surroundings = { ...container.#surroundings(request.id), signal };
        await init.launch(surroundings, bundle.initPid, async (stdio) => {
          await runc.create(request.id, bundle.path, bundle.initPid, stdio, flags, signal);
          created = true;
        });
        container.#watchInit();
      } else {
        (await import('./checkpoint.ts')).requireCriu(runtime);
        const images = {
          path: request.checkpoint,
          parent: request.parentCheckpoint,
          work: criuWorkPath || bundle.path,
        };
        container.#restore = () =>
          init.launch(container.#surroundings(request.id), bundle.initPid, (stdio) =>
            runc.restore(request.id, bundle.path, bundle.initPid, stdio, flags, images),
          );
      }
      if (signal.aborted) throw BerthError.from(signal.reason, `create container ${request.id}`);
      context.publish('containerd.events.TaskCreate', {
        containerId: request.id,
        bundle: request.bundle,
        rootfs: request.rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
        io: init.paths,
        checkpoint: request.checkpoint,
        pid: init.pid,
      });
      container.#awaitInit();
      return container;
    } catch (error) {
      await container.#undoCreate(created);
      throw BerthError.from(error);
    } finally {
      release();
    }
  }

  /** A `runc create` that failed by itself has cleaned up; deleting then could hit another container of the same id. */
  async #undoCreate(created: boolean): Promise<void> {
    this.init.closeIo();
    this.#parts?.exits.close();
    try {
      if (created) await this.#runc.delete(this.id, { force: true });
    } catch (error) {
      this.#context.log.warn('undo create', error, { id: this.id });
    }
    unmountRootfs(this.bundle.rootfs);
    this.bundle.remove(this.bundle.initPid);
  }

  /** Throws `not_found` for an unknown exec id. */
  process(execId: string): TaskProcess {
    return execId === '' ? this.init : this.#execs.get(execId);
  }

  async start(execId: string): Promise<number> {
    const started = this.process(execId);
    return started === this.init ? this.#oneByOne(() => this.#startInit()) : this.#execs.start(started);
  }

  async #startInit(): Promise<number> {
    requireState(this.init.state, 'start');
    if (this.#restore !== undefined) return this.#startRestored(this.#restore);
    const { exits } = this.#live();
    exits.initStarting();
    try {
      await this.#runc.start(this.id);
      this.#tellStart();
      return this.init.pid;
    } finally {
      exits.initStarted();
    }
  }

  async #startRestored(restore: () => Promise<void>): Promise<number> {
    const release = this.#context.reaper.hold();
    try {
      await restore();
      this.#restore = undefined;
      this.#watchInit();
      this.#tellStart();
      this.#awaitInit();
      return this.init.pid;
    } finally {
      release();
    }
  }

  #tellStart(): void {
    this.init.markStarted();
    this.#context.publish('containerd.events.TaskStart', { containerId: this.id, pid: this.init.pid });
  }

  /** Init is there, with its cgroup. */
  #watchInit(): void {
    const { publish, log } = this.#context;
    const cgroup = Cgroup.of(this.init.pid);
    this.#parts = { cgroup, exits: new Exits(this.id, this.bundle, this.init, cgroup, publish, log) };
  }

  /** After the event that must come before init's exit. */
  #awaitInit(): void {
    const exits = this.#parts?.exits;
    if (exits !== undefined) this.#context.reaper.onExit(this.init.pid, (exit) => exits.initReaped(exit));
  }

  addExec(request: ExecRequest): void {
    this.#execs.add(request);
  }

  /** `id` names the process to a logging program. */
  #surroundings(id: string): LaunchSurroundings {
    const { socketPath, reaper, namespace } = this.#context;
    return { socketPath: socketPath(), owner: this.#owner, logged: { id, namespace }, reaper };
  }

  #live(): { readonly cgroup: Cgroup; readonly exits: Exits } {
    if (this.#parts === undefined) throw new BerthError('failed_precondition', `container ${this.id} isn't created`);
    return this.#parts;
  }

  /** Throws `not_found` "process already finished" for one that has ended. */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    if (!(signal >= 0 && signal <= 64)) throw new BerthError('invalid_argument', `signal ${signal} doesn't exist`);
    const target = this.process(execId);
    if (target !== this.init) return target.signal(signal, all ? await this.#pids() : []);
    if (!all && target.state !== 'paused') return target.signal(signal);
    if (target.exit !== undefined) throw new BerthError('not_found', 'process already finished');
    try {
      await this.#runc.kill(this.id, signal, { all });
    } catch (error) {
      // It ended under the runtime's hands, which then missed its cgroup: another call has it deleted.
      if (target.exit !== undefined) throw new BerthError('not_found', 'process already finished', { cause: error });
      throw error;
    }
    // A frozen v1 cgroup keeps even SIGKILL waiting.
    if (target.state === 'paused' && signal === sigkill) await this.#runc.resume(this.id).catch(() => undefined);
  }

  pause(): Promise<void> {
    return this.#oneByOne(async () => {
      requireState(this.init.state, 'pause');
      await this.#runc.pause(this.id);
      this.init.markPaused(true);
      this.#context.publish('containerd.events.TaskPaused', { containerId: this.id });
    });
  }

  resume(): Promise<void> {
    return this.#oneByOne(async () => {
      requireState(this.init.state, 'resume');
      await this.#runc.resume(this.id);
      this.init.markPaused(false);
      this.#context.publish('containerd.events.TaskResumed', { containerId: this.id });
    });
  }

  /** Saves the processes into the folder `path`. */
  checkpoint(path: string, options: Any | null): Promise<void> {
    return this.#oneByOne(async () => {
      requireState(this.init.state, 'checkpoint');
      const { checkpoint, requireCriu } = await import('./checkpoint.ts');
      requireCriu(this.#runc.runtime);
      await checkpoint(this.#runc, this.id, this.bundle, path, options, await this.#pids());
      this.#context.publish('containerd.events.TaskCheckpointed', { containerId: this.id, checkpoint: path });
    });
  }

  /** `resources` is the spec's `linux.resources` as JSON. */
  update(resources: Any | null): Promise<void> {
    return this.#oneByOne(async () => {
      requireState(this.init.state, 'update');
      const file = `${this.bundle.path}/resources.json`;
      writeText(file, JSON.stringify(unpackJson(resources, 'resources')));
      try {
        await this.#runc.update(this.id, file);
      } finally {
        this.bundle.remove(file);
      }
    });
  }

  /** Every process in the container, with the exec id of those that are execs. */
  async pids(): Promise<{ pid: number; execId: string }[]> {
    const execIds = new Map(this.#execs.all().map((exec) => [exec.pid, exec.execId]));
    return (await this.#pids()).map((pid) => ({ pid, execId: execIds.get(pid) ?? '' }));
  }

  async #pids(): Promise<number[]> {
    return this.#live().cgroup.pids() ?? (await this.#runc.pids(this.id));
  }

  /** What the cgroup has used, as `io.containerd.cgroups.v1.Metrics` or v2. Loaded when asked for, which is seldom. */
  async metrics(): Promise<{ type_url: string; value: Buffer }> {
    const { metricsOf } = await import('#common/cgroup/metrics.ts');
    const { type_url, value } = metricsOf(this.#live().cgroup.folders);
    return { type_url, value: Buffer.from(value) };
  }

  /** Forgets an ended exec, or deletes the container. Answers the process that is gone. */
  async delete(execId: string): Promise<TaskProcess> {
    const gone = this.process(execId);
    if (gone === this.init) return this.#oneByOne(() => this.#deleteInit());
    await this.#execs.delete(gone, drainMs);
    return gone;
  }

  async #deleteInit(): Promise<TaskProcess> {
    const { init } = this;
    requireState(init.state, 'delete');
    const created = init.state === 'created';
    if (!created) await init.drained(drainMs);
    if (this.#restore === undefined) await this.#runc.delete(this.id, { force: created });
    else init.forget();
    if (created && this.#restore === undefined) await init.ended;
    unmountRootfs(this.bundle.rootfs);
    for (const process of [init, ...this.#execs.all()]) process.closeIo();
    this.#context.publish('containerd.events.TaskDelete', {
      containerId: this.id,
      pid: init.pid,
      exitStatus: init.exit?.status ?? 0,
      exitedAt: timestampFromDate(new Date(init.exit?.at ?? Date.now())),
    });
    return init;
  }

  /** Operations that change init's state run one after another; each looks at the state when its turn has come. */
  #oneByOne<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#lastOperation.then(operation);
    this.#lastOperation = result.catch(() => undefined);
    return result;
  }
}
