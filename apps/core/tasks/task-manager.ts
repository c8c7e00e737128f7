import { BerthError, isCode } from '#common/errors.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import { timestampNow } from '#common/timestamp.ts';
import { decode } from '#common/wire/codec.ts';
import { writeContainerFile } from '../containers/container-file.ts';
import type { Container, ContainerStore } from '../containers/store.ts';
import type { Envelope, EventPublisher } from '../events/events.ts';
import type { Bundle, BundleFacts } from './bundle.ts';
import { EndEvents } from './end-events.ts';
import { type Exit, KILLED } from './exit.ts';
import { deactivateRootfs } from './rootfs.ts';
import type { Shim } from './shim.ts';
import { shutDown } from './shim-reaper.ts';
import type { Task } from './task.ts';
import { TaskCreator, type TaskCreatorOptions, type TaskInput } from './task-creator.ts';

export interface TaskManagerOptions extends TaskCreatorOptions {
  readonly containers: Pick<ContainerStore, 'get'>;
  readonly events: EventPublisher;
}

/**
 * The tasks of all namespaces, each with its shim.
 *
 * Creating and deleting a task run one after the other per id, and within it per shim; nothing else waits in line. On
 * disk, what is about to happen is written before it happens: a bundle names its shim before that is started, so whatever
 * a daemon that was killed left behind can be found from the bundles (recovery.ts).
 */
export class TaskManager {
  readonly #options: TaskManagerOptions;
  readonly #tasks = new Map<string, Task>();
  readonly #queue = new KeyedQueue();
  /** By group: a shim mustn't be told to end while a task is about to be made in it. */
  readonly #shims = new KeyedQueue();
  readonly #creator: TaskCreator;
  readonly #ends: EndEvents;
  readonly #stopping = new AbortController();

  constructor(options: TaskManagerOptions) {
    this.#options = options;
    this.#creator = new TaskCreator(options, this.#shims);
    this.#ends = new EndEvents(options.events);
  }

  /** @throws not_found, saying which of container and task is missing. */
  get(namespace: string, id: string): Task {
    const task = this.#tasks.get(key(namespace, id));
    if (task !== undefined) return task;
    this.#options.containers.get(namespace, id);
    throw new BerthError('not_found', `task ${id} not found`);
  }

  list(namespace: string): Task[] {
    return [...this.#tasks.values()].filter((task) => task.namespace === namespace);
  }

  countByNamespace(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { namespace } of this.#tasks.values()) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
    return counts;
  }

  /** How many shims have tasks: several may share one. */
  get shimCount(): number {
    const groups = new Set<string>();
    for (const task of this.#tasks.values()) {
      if (task.shim !== undefined) groups.add(key(task.namespace, task.group));
    }
    return groups.size;
  }

  /**
   * Starts a shim and has it create the container's init process, which waits to be started. Nothing is left on failure.
   * @throws not_found for the container; already_exists; what the shim says.
   */
  async create(namespace: string, id: string, input: TaskInput, signal?: AbortSignal): Promise<number> {
    const container = this.#options.containers.get(namespace, id);
    const create = async () => {
      if (this.#tasks.has(key(namespace, id))) throw new BerthError('already_exists', `task ${id} already exists`);
      const { task, pid } = await this.#creator.create(namespace, container, input, signal);
      this.#ends.begin(namespace, id, pid);
      this.#takeUp(task);
      return pid;
    };
    return await this.#queue.run(key(namespace, id), create, { signal });
  }

  /**
   * Deletes a task whose init process has ended, ends its shim and removes the bundle.
   * @throws not_found; failed_precondition while it runs.
   */
  async delete(namespace: string, id: string): Promise<Exit> {
    return await this.#queue.run(key(namespace, id), () => this.#delete(this.get(namespace, id)));
  }

  /** Takes up a task that an earlier daemon made. */
  adopt(task: Task): void {
    this.#ends.resume(task.namespace, task.id);
    this.#takeUp(task);
  }

  /**
   * Tears down what a client doesn't know of, or had deleted when the daemon was killed: then the world hears of that.
   * @throws when it can't be removed.
   */
  async tearDown(bundle: Bundle, facts: BundleFacts): Promise<void> {
    await this.#queue.run(key(bundle.namespace, bundle.id), async () => {
      await this.#options.reaper.reap(bundle, facts);
      const exit = facts.exit ?? { pid: 0, exitStatus: KILLED, exitedAt: timestampNow() };
      if (facts.created) this.#ends.tell(bundle.namespace, '/tasks/delete', bundle.id, exit);
    });
  }

  /**
   * Notes the end of an init process before anybody hears of it, so that a restart or the shim's death can't undo it.
   * False for what everybody has heard already.
   */
  async observe({ namespace, topic, event, timestamp }: Envelope): Promise<boolean> {
    if (topic === '/tasks/delete' && event.type_url === 'containerd.events.TaskDelete') {
      const { containerId, pid } = decode(event.type_url, event.value);
      return this.#ends.admit(namespace, topic, containerId, pid);
    }
    if (topic !== '/tasks/exit' || event.type_url !== 'containerd.events.TaskExit') return true;
    const { containerId, id, pid, exitStatus, exitedAt } = decode(event.type_url, event.value);
    if (id !== containerId) return true;
    if (!this.#ends.admit(namespace, topic, containerId, pid)) return false;
    const task = this.#tasks.get(key(namespace, containerId));
    if (task?.deleting === false && task.mayHave(pid)) {
      this.#record(task, { pid, exitStatus, exitedAt: exitedAt ?? timestamp });
    }
    return true;
  }

  /** Keeps what the bundle says of its container as new as the record. */
  containerUpdated(namespace: string, container: Container): void {
    const task = this.#tasks.get(key(namespace, container.id));
    if (task === undefined || task.deleting) return;
    try {
      writeContainerFile(task.bundle.path, container);
    } catch (error) {
      this.#logOf(task.bundle).warn({ err: error }, 'recording a change of the container in its bundle');
    }
  }

  /** Fires when the daemon begins to stop: nobody should wait any longer for a process to end. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Ends all waiting with `reason`, so that the API can be closed. */
  beginStop(reason: BerthError): void {
    this.#stopping.abort(reason);
  }

  /** Lets go of every shim; they and their containers go on. */
  close(): void {
    for (const task of this.#tasks.values()) {
      task.deleting = true;
      task.shim?.close();
      task.shimLog?.close();
    }
    this.#tasks.clear();
  }

  /** From now on the task is known, and its shim's death is noticed. */
  #takeUp(task: Task): void {
    this.#tasks.set(key(task.namespace, task.id), task);
    if (task.shim === undefined) void this.#lost(task);
    else task.shim.onClose(() => void this.#lost(task));
  }

  async #delete(task: Task): Promise<Exit> {
    const outcome = task.lost ? undefined : await this.#deleteFromShim(task);
    if (outcome !== undefined) {
      if (!(await this.#ends.deleteTold(task)))
        this.#tellEnd(task, outcome instanceof BerthError ? undefined : outcome);
      await task.bundle.recordDeleted();
      const { shim } = task;
      if (shim !== undefined && !task.inSandbox) {
        await this.#shims.run(key(task.namespace, task.group), () => this.#shutDown(task, shim));
      }
    } else {
      await task.cleared;
    }
    if (outcome === undefined) this.#ends.tell(task.namespace, '/tasks/delete', task.id, task.exit as Exit);
    this.#tasks.delete(key(task.namespace, task.id));
    this.#ends.end(task.namespace, task.id);
    task.shim?.close();
    task.shimLog?.close();
    await task.bundle.remove();
    await deactivateRootfs(this.#options.mounts, task.namespace, task.id).catch((error: unknown) => {
      // The next collection tries again.
      this.#logOf(task.bundle).warn({ err: error }, 'mounts of a task left over');
    });
    if (outcome instanceof BerthError) throw outcome;
    return outcome ?? (task.exit as Exit);
  }

  /** In place of a shim that has deleted the task and not told it. */
  #tellEnd(task: Task, outcome: Exit | undefined): void {
    const exit = outcome ?? task.exit ?? { pid: 0, exitStatus: KILLED, exitedAt: timestampNow() };
    this.#logOf(task.bundle).debug('telling the end of a task in place of its shim');
    if (!task.exitOnRecord) this.#ends.tell(task.namespace, '/tasks/exit', task.id, exit);
    this.#ends.tell(task.namespace, '/tasks/delete', task.id, exit);
  }

  /**
   * The shim's answer; its error when it has no such task, which is then gone for us too; undefined when it dies over the
   * question. From the answer on, that the connection breaks is no news.
   */
  async #deleteFromShim(task: Task): Promise<Exit | BerthError | undefined> {
    task.deleting = true;
    try {
      const { pid, exitStatus, exitedAt } = await task.call('Delete', { id: task.id });
      return { pid, exitStatus, exitedAt: exitedAt ?? { seconds: '0', nanos: 0 } };
    } catch (error) {
      if (!task.lost && isCode(error, 'not_found')) return error;
      task.deleting = false;
      if (!task.lost) throw await precise(error, task);
      void this.#lost(task);
      return undefined;
    }
  }

  async #shutDown(task: Task, shim: Shim): Promise<void> {
    try {
      await shutDown(shim, task.id);
    } catch (error) {
      this.#logOf(task.bundle).warn({ err: error }, 'shim does not end; killing it');
      await this.#options.reaper.killServers(task.bundle, task.shimBinary);
    }
  }

  /** A shim has died on us: its container is killed and cleared away, and its end is told, once. */
  async #lost(task: Task): Promise<void> {
    if (task.deleting || task.isBeingCleared) return;
    task.isBeingCleared = true;
    this.#logOf(task.bundle).warn('shim has died; clearing up behind it');
    const exit = this.#record(
      task,
      await this.#options.reaper.clear(task.bundle, task.inSandbox ? '' : task.shimBinary),
    );
    task.shimLog?.close();
    if (!task.exitOnRecord) this.#ends.tell(task.namespace, '/tasks/exit', task.id, exit);
    task.markCleared();
  }

  /** In memory and on disk. The exit that stands, see Task.recordExit. */
  #record(task: Task, exit: Exit): Exit {
    const standing = task.recordExit(exit);
    try {
      task.bundle.recordExit(standing);
    } catch (error) {
      this.#logOf(task.bundle).error({ err: error }, 'recording the end of a task');
    }
    return standing;
  }

  #logOf(bundle: Bundle): Logger {
    return this.#options.log.child({ ns: bundle.namespace, id: bundle.id });
  }
}

function key(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}

/** containerd's shims refuse to delete a running process without a code that says so. */
async function precise(error: unknown, task: Task): Promise<unknown> {
  if (!isCode(error, 'unknown')) return error;
  const { status } = await task.state('');
  if (status === 'STOPPED') return error;
  return new BerthError('failed_precondition', `task ${task.id} is ${status}: ${error.message}`, { cause: error });
}
