import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from '#common/log.ts';
import type { Any } from '#common/typeurl.ts';
import type { ShimPer } from '../config.ts';
import type { ContainerStore } from '../containers/store.ts';
import type { EventPublisher } from '../events/events.ts';
import { serveShimEndpoint } from '../events/shim-endpoint.ts';
import { ShimSandboxes } from '../sandboxes/shim-sandboxes.ts';
import type { SandboxStore } from '../sandboxes/store.ts';
import type { Snapshotter } from '../snapshots/snapshotter.ts';
import { recoverTasks } from './recovery.ts';
import type { RootfsMounts } from './rootfs.ts';
import { runtimeInfo } from './runtime-info.ts';
import { RuntimeNames } from './runtime-name.ts';
import { ShimCommand } from './shim-command.ts';
import { ShimReaper } from './shim-reaper.ts';
import { shimSocketDir } from './shim-socket.ts';
import { TaskManager } from './task-manager.ts';

export interface TasksOptions {
  /** The daemon's volatile folder: bundles, runc's state and shims' sockets go below it. */
  readonly stateDir: string;
  /** The daemon's gRPC socket; shims forward events to the same path with `.ttrpc` behind it. */
  readonly address: string;
  readonly shimBinary: string;
  /** What gets a shim of its own. Default: each container. */
  readonly shimPer?: ShimPer;
  readonly defaultRuntime?: string;
  readonly sandboxes: Pick<SandboxStore, 'get'>;
  readonly containers: Pick<ContainerStore, 'get' | 'onUpdate'>;
  /** @throws not_found for a name that no snapshotter has. */
  readonly snapshotter: (name: string) => Pick<Snapshotter, 'mounts'>;
  readonly mounts: RootfsMounts;
  readonly events: EventPublisher;
  readonly log: Logger;
}

export interface Tasks extends AsyncDisposable {
  readonly manager: TaskManager;
  readonly sandboxes: ShimSandboxes;
  /** See runtime-info.ts. */
  readonly runtimeInfo: (request: Any, signal?: AbortSignal) => ReturnType<typeof runtimeInfo>;
}

/** Where the bundles are, as in containerd. */
export function tasksDirOf(stateDir: string): string {
  return join(stateDir, 'io.containerd.runtime.v2.task');
}

/**
 * Opens the shims' event endpoint, then finds the tasks of an earlier daemon: in this order, because a shim that has
 * waited for us repeats its events at once. The caller serves the API after that.
 */
export async function openTasks(options: TasksOptions): Promise<Tasks> {
  const { stateDir, address, containers, snapshotter, mounts, events, log } = options;
  const ttrpcAddress = `${address}.ttrpc`;
  const socketDir = shimSocketDir(stateDir);
  const sandboxesDir = join(stateDir, 'io.containerd.sandbox.controller.v1.shim');
  const tasksDir = tasksDirOf(stateDir);
  await Promise.all([
    mkdir(tasksDir, { recursive: true, mode: 0o711 }),
    mkdir(sandboxesDir, { recursive: true, mode: 0o700 }),
    mkdir(socketDir, { recursive: true, mode: 0o711 }),
  ]);
  const addon = join(dirname(options.shimBinary), 'berth-native.node');
  const debug = log.isLevelEnabled('debug');
  const templateDir = join(stateDir, 'shim-template');
  const command = new ShimCommand({ address, ttrpcAddress, socketDir, addon, templateDir, debug, log });
  const reaper = new ShimReaper({ command, address, socketDir, log });
  const runtimes = new RuntimeNames(options);
  const runcRoot = join(stateDir, 'runc');
  const records = options.sandboxes;
  const sandboxes = new ShimSandboxes({ sandboxesDir, records, events, runtimes, command, reaper, log });
  const manager = new TaskManager({
    tasksDir,
    runcRoot,
    containers,
    sandboxEndpoint: (namespace, id) => sandboxes.endpointOf(namespace, id),
    snapshotter,
    mounts,
    events,
    runtimes,
    command,
    reaper,
    shimPer: options.shimPer ?? 'container',
    log,
  });

  await using opened = new AsyncDisposableStack();
  opened.use(command);
  opened.defer(() => sandboxes.close());
  opened.defer(() => manager.close());
  containers.onUpdate((namespace, container) => manager.containerUpdated(namespace, container));
  const observe = manager.observe.bind(manager);
  const endpoint = await serveShimEndpoint({ socketPath: ttrpcAddress, exchange: events, observe, log });
  opened.defer(() => endpoint.close());
  await sandboxes.recover();
  await recoverTasks({ tasksDir, manager, containers, log });
  const resources = opened.move();
  return {
    manager,
    sandboxes,
    runtimeInfo: (request, signal) => runtimeInfo({ runtimes, command }, request, signal),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
