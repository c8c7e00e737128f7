import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode } from '#common/errors.ts';
import { type CallOptions, type Channel, type Client, connect } from '#common/grpc/client.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { timestampToNs } from '#common/timestamp.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import type {
  EventsDefinition as FollowDefinition,
  EventsHandlers as FollowHandlers,
} from '#proto/berth/services/events/v1/Events.ts';
import type { FollowResponse__Output } from '#proto/berth/services/events/v1/FollowResponse.ts';
import type { ContainersDefinition, ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import type { EventsDefinition, EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import type { VersionDefinition, VersionHandlers } from '#proto/containerd/services/version/v1/Version.ts';
import type { Envelope__Output } from '#proto/containerd/types/Envelope.ts';
import type { Process__Output } from '#proto/containerd/v1/types/Process.ts';
import { labelled } from '../selinux/labelled.ts';
import { restartPatienceMs } from './restart-patience.ts';
import type {
  CoreRecord,
  CoreTask,
  Extensions,
  NewRecord,
  NewTask,
  SnapshotMounts,
  StoredSnapshot,
  TaskExit,
} from './types.ts';
import { unsynced } from './unsynced.ts';

/** The containerd namespace of everything that Kubernetes runs. */
export const coreNamespace = 'k8s.io';

/** Before a call is repeated: what is unavailable may be a single shim, while berthd itself answers at once. */
const repeatPauseMs = 50;
/** Questions about single tasks that are under way at the same time. */
const tasksAtOnce = 16;
/** Beyond it something hangs: starting and stopping processes takes a fraction. */
const callTimeoutMs = 120_000;

/**
 * berthd, or any other containerd, as the CRI daemon uses it. While it is away calls wait a little, then fail with
 * `unavailable`. What is already gone counts as removed.
 */
export class Core {
  readonly channel: Channel;
  readonly snapshotter: string;
  readonly #containers: Client<ContainersHandlers, ContainersDefinition>;
  readonly #snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly #tasks: Client<TasksHandlers, TasksDefinition>;
  readonly #events: Client<EventsHandlers, EventsDefinition>;
  readonly #follow: Client<FollowHandlers, FollowDefinition>;
  readonly #version: Client<VersionHandlers, VersionDefinition>;
  /** Of the last task event that was handled. */
  #cursor = '';

  constructor(socketPath: string, snapshotter: string) {
    this.channel = connect(socketPath, { namespace: coreNamespace });
    this.snapshotter = snapshotter;
    this.#containers = this.channel.client('containerd.services.containers.v1.Containers');
    this.#snapshots = this.channel.client('containerd.services.snapshots.v1.Snapshots');
    this.#tasks = this.channel.client('containerd.services.tasks.v1.Tasks');
    this.#events = this.channel.client('containerd.services.events.v1.Events');
    this.#follow = this.channel.client('berth.services.events.v1.Events');
    this.#version = this.channel.client('containerd.services.version.v1.Version');
  }

  close(): void {
    this.channel.close();
  }

  /** @throws unavailable */
  async version(timeoutMs: number): Promise<string> {
    return (await this.#version.version({}, { timeoutMs })).version;
  }

  /** Resolves once berthd answers. @throws unavailable after `ms` */
  async waitReady(ms: number): Promise<void> {
    await this.channel.waitReady(ms);
  }

  /** @throws already_exists */
  async createRecord(record: NewRecord): Promise<void> {
    const container = {
      id: record.id,
      labels: { ...record.labels },
      image: record.image,
      runtime: { name: record.runtime.name, options: record.runtime.options ?? null },
      spec: packJson(typeUrls.spec, record.spec),
      snapshotter: this.snapshotter,
      snapshotKey: record.id,
      extensions: packExtensions(record.extensions),
    };
    await this.#once(this.#containers.create, { container }, `create record ${record.id}`);
  }

  /** Replaces the named extensions, and the spec if there is one. @throws not_found */
  async updateRecord(id: string, change: { extensions?: Extensions; spec?: RuntimeSpec }): Promise<void> {
    const { extensions = {}, spec } = change;
    const paths = Object.keys(extensions).map((key) => `extensions.${key}`);
    if (spec !== undefined) paths.push('spec');
    const container = {
      id,
      extensions: packExtensions(extensions),
      ...(spec === undefined ? {} : { spec: packJson(typeUrls.spec, spec) }),
    };
    await this.#again(this.#containers.update, { container, updateMask: { paths } }, `update record ${id}`);
  }

  async deleteRecord(id: string): Promise<void> {
    await ignoreMissing(this.#again(this.#containers.delete, { id }, `delete record ${id}`));
  }

  /** @throws not_found */
  async spec(id: string): Promise<RuntimeSpec> {
    const { container } = await this.#again(this.#containers.get, { id }, `read record ${id}`);
    return JSON.parse(Buffer.from(container?.spec?.value ?? '{}').toString()) as RuntimeSpec;
  }

  /** All records with a label. Each is read on its own, however many there are. */
  async listRecords(label: string): Promise<CoreRecord[]> {
    const records: CoreRecord[] = [];
    const stream = this.#containers.listStream({ filters: [`labels.${JSON.stringify(label)}`] }, await this.#options());
    for await (const { container } of stream) {
      if (container === null) continue;
      const extensions = Object.entries(container.extensions).map(([key, any]) => [key, any.value.toString()]);
      records.push({
        id: container.id,
        labels: container.labels,
        spec: () => JSON.parse(container.spec?.value.toString() ?? '{}') as RuntimeSpec,
        extensions: Object.fromEntries(extensions),
      });
    }
    return records;
  }

  /** A new writable layer on top of an image's. @throws not_found for a missing parent; already_exists */
  async prepareSnapshot(key: string, parent: string, labels: Record<string, string> = {}): Promise<SnapshotMounts> {
    const request = { snapshotter: this.snapshotter, key, parent, labels };
    return (await this.#once(this.#snapshots.prepare, request, `prepare the root file system of ${key}`)).mounts;
  }

  /** An image's files, read-only. @throws not_found for a missing parent; already_exists */
  async viewSnapshot(key: string, parent: string, labels: Record<string, string>): Promise<SnapshotMounts> {
    const request = { snapshotter: this.snapshotter, key, parent, labels };
    return (await this.#once(this.#snapshots.view, request, `prepare the volume ${key}`)).mounts;
  }

  /** @throws not_found */
  async snapshotMounts(key: string): Promise<SnapshotMounts> {
    const request = { snapshotter: this.snapshotter, key };
    return (await this.#again(this.#snapshots.mounts, request, `mounts of ${key}`)).mounts;
  }

  /** Space on disk and inodes of a snapshot's own files. @throws not_found */
  async snapshotUsage(key: string): Promise<{ size: string; inodes: string }> {
    return await this.#again(this.#snapshots.usage, { snapshotter: this.snapshotter, key }, `usage of ${key}`);
  }

  async removeSnapshot(key: string): Promise<void> {
    const request = { snapshotter: this.snapshotter, key };
    await ignoreMissing(this.#again(this.#snapshots.remove, request, `remove the root file system of ${key}`));
  }

  async listSnapshots(label: string): Promise<StoredSnapshot[]> {
    const found: StoredSnapshot[] = [];
    const request = { snapshotter: this.snapshotter, filters: [`labels.${JSON.stringify(label)}`] };
    for await (const { info } of this.#snapshots.list(request, await this.#options())) {
      for (const { name, labels } of info) found.push({ key: name, labels });
    }
    return found;
  }

  /** Makes the process, not yet running; answers its pid. @throws already_exists, or what the OCI runtime says */
  async createTask(task: NewTask): Promise<number> {
    const rootfs = unsynced(task.rootfs);
    const request = {
      containerId: task.id,
      rootfs: [...(task.mountLabel === undefined ? rootfs : labelled(rootfs, task.mountLabel))],
      stdin: task.stdin ?? '',
      stdout: task.stdout ?? '',
      stderr: task.stderr ?? '',
      terminal: task.terminal ?? false,
    };
    return (await this.#once(this.#tasks.create, request, `create task ${task.id}`)).pid;
  }

  async startTask(id: string): Promise<void> {
    await this.#once(this.#tasks.start, { containerId: id }, `start task ${id}`);
  }

  /** Sends a signal; a process that has ended, by itself or with its shim, is no error. */
  async killTask(id: string, signal: number, options: { all?: boolean } = {}): Promise<void> {
    const request = { containerId: id, signal, all: options.all ?? false };
    try {
      await ignoreMissing(this.#again(this.#tasks.kill, request, `send signal ${signal} to ${id}`));
    } catch (error) {
      if (!isCode(error, 'failed_precondition')) throw error;
      const task = await this.task(id);
      if (task !== undefined && task.status !== 'STOPPED') throw error;
    }
  }

  /** Frees what is left of an ended task; answers how it ended, undefined when it is gone already. */
  async deleteTask(id: string): Promise<TaskExit | undefined> {
    const response = await ignoreMissing(this.#again(this.#tasks.delete, { containerId: id }, `delete task ${id}`));
    if (response === undefined) return undefined;
    return { exitCode: response.exitStatus, exitedAt: timestampToNs(response.exitedAt) };
  }

  /** undefined when there is none. */
  async task(id: string): Promise<CoreTask | undefined> {
    const response = await ignoreMissing(this.#again(this.#tasks.get, { containerId: id }, `state of task ${id}`));
    return response?.process ? taskOf(response.process) : undefined;
  }

  /** All tasks, however many there are: where they don't fit into one message, each is asked for. */
  async listTasks(): Promise<Map<string, CoreTask>> {
    try {
      const { tasks } = await this.#again(this.#tasks.list, {}, 'list tasks');
      return new Map(tasks.map((process) => [process.containerId || process.id, taskOf(process)]));
    } catch (error) {
      if (!isCode(error, 'resource_exhausted')) throw error;
    }
    const ids: string[] = [];
    for await (const { container } of this.#containers.listStream({ filters: [] }, await this.#options())) {
      if (container !== null) ids.push(container.id);
    }
    const tasks = new Map<string, CoreTask>();
    const ask = async () => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        const task = await this.task(id);
        if (task !== undefined) tasks.set(id, task);
      }
    };
    await Promise.all(Array.from({ length: tasksAtOnce }, ask));
    return tasks;
  }

  /** The process of a task reads the end of its stdin. */
  async closeStdin(id: string): Promise<void> {
    const request = { containerId: id, stdin: true };
    await ignoreMissing(this.#again(this.#tasks.closeIO, request, `close stdin of ${id}`));
  }

  async resizeTerminal(id: string, { width, height }: { width: number; height: number }): Promise<void> {
    await this.#again(this.#tasks.resizePty, { containerId: id, width, height }, `resize the terminal of ${id}`);
  }

  async pauseTask(id: string): Promise<void> {
    await this.#once(this.#tasks.pause, { containerId: id }, `pause ${id}`);
  }

  /** One that isn't paused, or is gone, is no error. */
  async resumeTask(id: string): Promise<void> {
    try {
      await ignoreMissing(this.#again(this.#tasks.resume, { containerId: id }, `resume ${id}`));
    } catch (error) {
      if (!isCode(error, 'failed_precondition')) throw error;
    }
  }

  /**
   * Saves the processes of a task, which goes on.
   *
   * @param timeoutMs 0: that of every call
   * @throws failed_precondition without criu; deadline_exceeded; what criu says
   */
  async checkpointTask(id: string, paths: { imagePath: string; workPath: string }, timeoutMs: number): Promise<void> {
    const type = 'containerd.runc.v1.CheckpointOptions';
    const options = { type_url: type, value: Buffer.from(encode(type, paths)) };
    const call = { ...(await this.#options()), ...(timeoutMs === 0 ? {} : { timeoutMs }) };
    try {
      await this.#tasks.checkpoint({ containerId: id, options }, call);
    } catch (error) {
      throw BerthError.from(error, `checkpoint of ${id}`);
    }
  }

  async updateTask(id: string, resources: object): Promise<void> {
    const request = { containerId: id, resources: packJson(typeUrls.linuxResources, resources) };
    await this.#again(this.#tasks.update, request, `update resources of ${id}`);
  }

  /**
   * Events of tasks in our namespace, until berthd goes away or `signal` fires. berthd goes on behind the last event that
   * an earlier call gave; another containerd begins with what happens from now on.
   */
  taskEvents(topics: readonly string[], signal: AbortSignal): AsyncIterable<Envelope__Output> {
    const filters = topics.map((topic) => `namespace==${coreNamespace},topic==${JSON.stringify(topic)}`);
    const followed = this.#follow.follow({ filters, after: this.#cursor }, { signal });
    // Asked for now, not when the events are read: what happens until then is wanted too.
    const subscribed = followed.next().then(
      ({ value }) => {
        if (value !== undefined) this.#cursor = value.cursor;
        return undefined;
      },
      (error: unknown) => {
        if (isCode(error, 'out_of_range')) this.#cursor = '';
        if (!isCode(error, 'unimplemented')) throw error;
        return this.#events.subscribe({ filters }, { signal });
      },
    );
    subscribed.catch(() => undefined);
    return this.#taskEvents(followed, subscribed);
  }

  async *#taskEvents(
    followed: AsyncIterable<FollowResponse__Output>,
    subscribed: Promise<AsyncIterable<Envelope__Output> | undefined>,
  ): AsyncGenerator<Envelope__Output> {
    const plain = await subscribed;
    if (plain !== undefined) return yield* plain;
    for await (const { cursor, envelope } of followed) {
      if (envelope !== null) yield envelope;
      this.#cursor = cursor;
    }
  }

  /** A call that may not be repeated: what came of it is unknown when the connection breaks. */
  async #once<Req, Res>(method: Method<Req, Res>, request: Req, what: string): Promise<Res> {
    try {
      return await method(request, await this.#options());
    } catch (error) {
      throw BerthError.from(error, what);
    }
  }

  /** A call that may be repeated: it rides out a restart of berthd. */
  async #again<Req, Res>(method: Method<Req, Res>, request: Req, what: string): Promise<Res> {
    const until = Date.now() + restartPatienceMs;
    for (;;) {
      try {
        return await method(request, await this.#options());
      } catch (error) {
        if (!isCode(error, 'unavailable') || Date.now() >= until) throw BerthError.from(error, what);
      }
      await sleep(repeatPauseMs);
    }
  }

  async #options(): Promise<CallOptions> {
    await this.channel.waitReady(restartPatienceMs);
    return { timeoutMs: callTimeoutMs };
  }
}

type Method<Req, Res> = (request: Req, options?: CallOptions) => Promise<Res>;

async function ignoreMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isCode(error, 'not_found')) return undefined;
    throw error;
  }
}

function packExtensions(extensions: Extensions): Record<string, { type_url: string; value: Buffer }> {
  return Object.fromEntries(Object.entries(extensions).map(([key, value]) => [key, packJson(key, value)]));
}

function taskOf(process: Process__Output): CoreTask {
  return {
    pid: process.pid,
    status: process.status,
    exitCode: process.exitStatus,
    exitedAt: timestampToNs(process.exitedAt),
  };
}
