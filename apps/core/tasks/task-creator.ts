import { BerthError, isCode } from '#common/errors.ts';
import type { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import { shimGroupOf } from '#common/shim-group.ts';
import type { Any } from '#common/typeurl.ts';
import type { Mount as WireMount } from '#proto/containerd/types/Mount.ts';
import type { ShimPer } from '../config.ts';
import { writeContainerFile } from '../containers/container-file.ts';
import type { Container } from '../containers/store.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import type { Bootstrap } from './bootstrap.ts';
import { Bundle } from './bundle.ts';
import { activateRootfs, deactivateRootfs, type RootfsMounts, rootfsMounts } from './rootfs.ts';
import type { RuntimeNames } from './runtime-name.ts';
import { Shim } from './shim.ts';
import type { ShimCommand } from './shim-command.ts';
import { ShimLog } from './shim-log.ts';
import type { ShimReaper } from './shim-reaper.ts';
import { Stages } from './stages.ts';
import { Task } from './task.ts';
import { restorePathOf, taskOptions } from './task-options.ts';

/** What a client says about the task it wants, beside the container's record. */
export interface TaskInput {
  /** How to mount the root file system; empty: as the container's snapshot says. */
  readonly rootfs: readonly WireMount[];
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
  readonly options: Any | null;
  /** A task API that serves already and is to have the task; undefined: a shim's, which is started. */
  readonly taskApi?: Bootstrap | undefined;
  /** A shim to use instead of the one the container names. */
  readonly runtimePath: string;
}

export interface TaskCreatorOptions {
  /** Folder of the bundles. */
  readonly tasksDir: string;
  /** Below it, runc's state by namespace. */
  readonly runcRoot: string;
  /**
   * Where a sandbox's shim serves the tasks in it; undefined when each has a shim of its own.
   * @throws not_found for a sandbox that isn't running.
   */
  readonly sandboxEndpoint: (namespace: string, id: string) => Bootstrap | undefined;
  /** @throws not_found for a name that no snapshotter has. */
  readonly snapshotter: (name: string) => Pick<Snapshotter, 'mounts'>;
  readonly mounts: RootfsMounts;
  readonly runtimes: RuntimeNames;
  readonly command: ShimCommand;
  readonly reaper: ShimReaper;
  /** What gets a shim of its own. */
  readonly shimPer: ShimPer;
  readonly log: Logger;
}

export interface CreatedTask {
  readonly task: Task;
  /** Of the init process, as the daemon sees it. */
  readonly pid: number;
}

const CONNECT_TIMEOUT_MS = 10_000;

/** Makes tasks: the bundle, the shim, and by it the container's init process, which waits to be started. */
export class TaskCreator {
  readonly #options: TaskCreatorOptions;
  readonly #shims: KeyedQueue;

  /** @param shims what happens to the shim of a group; its key is `<namespace>/<group>` */
  constructor(options: TaskCreatorOptions, shims: KeyedQueue) {
    this.#options = options;
    this.#shims = shims;
  }

  /**
   * Nothing is left on failure.
   * @throws invalid_argument for a container without a spec; not_found for its runtime, snapshotter or sandbox; what the
   *   shim says.
   */
  async create(namespace: string, container: Container, input: TaskInput, signal?: AbortSignal): Promise<CreatedTask> {
    const { runtimes, command, snapshotter, mounts, sandboxEndpoint, tasksDir, runcRoot, shimPer } = this.#options;
    const { id } = container;
    if (container.spec === undefined) throw new BerthError('invalid_argument', `container ${id} has no spec`);
    const ofSandbox = container.sandbox === '' ? undefined : sandboxEndpoint(namespace, container.sandbox);
    const home = input.taskApi ?? ofSandbox;
    const shimBinary = runtimes.resolve(input.runtimePath || container.runtime.name);
    const given = container.runtime.options;
    const options = taskOptions(
      input.options,
      given === undefined ? null : { type_url: given.typeUrl, value: given.value },
      runtimes.drivesRunc(shimBinary),
      runcRoot,
    );
    const stages = new Stages();
    const requested = await rootfsMounts(namespace, container, input.rootfs, snapshotter);
    stages.end('rootfs');
    const bundle = new Bundle(tasksDir, namespace, id);
    await this.#makeBundle(bundle, container.spec.value, home === undefined ? shimBinary : '');

    await using undo = new AsyncDisposableStack();
    let shimLog: ShimLog | undefined;
    undo.defer(() => deactivateRootfs(mounts, namespace, id));
    undo.defer(() => shimLog?.close());
    undo.defer(() => this.#reap(bundle));
    if (home !== undefined) bundle.recordSandbox(container.sandbox || home.address);
    const rootfs = await activateRootfs(mounts, namespace, id, requested);
    shimLog = new ShimLog(bundle.logFifo, this.#logOf(bundle));
    writeContainerFile(bundle.path, container);
    stages.end('bundle');
    const group = shimPer === 'pod' ? shimGroupOf(id, Buffer.from(container.spec.value).toString()) : id;
    bundle.recordGroup(group);
    const { stdin, stdout, stderr, terminal } = input;
    const checkpoint = restorePathOf(options);
    const request = { id, bundle: bundle.path, rootfs, stdin, stdout, stderr, terminal, checkpoint, options };
    const { shim, pid } = await this.#shims.run(`${namespace}/${group}`, async () => {
      const bootstrap = home ?? (await command.start(shimBinary, bundle, group, options, signal));
      stages.end('start');
      const started = await this.#connect(bundle, bootstrap, signal);
      stages.end('connect');
      undo.defer(() => started.close());
      const created = await started.call('Create', request, { signal });
      return { shim: started, pid: created.pid };
    });
    bundle.recordCreated();
    undo.move();
    stages.end('create');
    this.#logOf(bundle).debug({ pid, ms: stages.ms }, 'task created');

    return { task: new Task({ bundle, shimBinary, group, shim, shimLog, inSandbox: home !== undefined, pid }), pid };
  }

  async #connect(bundle: Bundle, bootstrap: Bootstrap, signal?: AbortSignal): Promise<Shim> {
    bundle.recordBootstrap(bootstrap);
    return await Shim.connect(bootstrap, { timeoutMs: CONNECT_TIMEOUT_MS, signal });
  }

  /** Removes first what an earlier failure may have left under that name. */
  async #makeBundle(bundle: Bundle, spec: Uint8Array, shimBinary: string): Promise<void> {
    try {
      bundle.create(spec, shimBinary);
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
      await this.#options.reaper.reap(bundle, await bundle.facts());
      bundle.create(spec, shimBinary);
    }
  }

  async #reap(bundle: Bundle): Promise<void> {
    try {
      await this.#options.reaper.reap(bundle, await bundle.facts());
    } catch (error) {
      this.#logOf(bundle).error({ err: error }, 'undoing a failed create');
    }
  }

  #logOf(bundle: Bundle): Logger {
    return this.#options.log.child({ ns: bundle.namespace, id: bundle.id });
  }
}
