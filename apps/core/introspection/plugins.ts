import type { Plugin } from '#proto/containerd/services/introspection/v1/Plugin.ts';
import { policyNames } from '../restart/policy.ts';

/** What clients may read about parts of this daemon. */
export interface PluginFacts {
  readonly snapshotters: readonly {
    readonly name: string;
    /** Directory of all its snapshots. */
    readonly root: string;
    readonly capabilities: readonly string[];
  }[];
}

/** gRPC services by the ids of containerd's plugins. */
const grpcServices = [
  'containers',
  'content',
  'diff',
  'events',
  'healthcheck',
  'images',
  'introspection',
  'leases',
  'mounts',
  'namespaces',
  'sandbox-controllers',
  'sandboxes',
  'snapshots',
  'streaming',
  'tasks',
  'transfer',
  'version',
] as const;

/** Services below the gRPC layer, which some clients look for. */
const services = [
  'containers-service',
  'content-service',
  'diff-service',
  'images-service',
  'introspection-service',
  'namespaces-service',
  'snapshots-service',
  'tasks-service',
] as const;

/** What runs the tasks; clients ask it for the features of a runtime. */
export const runtimePlugin = { type: 'io.containerd.runtime.v2', id: 'task' } as const;

/**
 * The parts of the daemon under the names that containerd's clients know. All of them are always there: what could
 * not start has kept the daemon from starting.
 */
export function pluginsOf({ snapshotters }: PluginFacts): Plugin[] {
  const platforms = [{ os: 'linux', architecture: architecture() }];
  const plain = (type: string, id: string): Plugin => ({ type, id });
  return [
    { type: 'io.containerd.content.v1', id: 'content' },
    ...snapshotters.map((snapshotter) => ({
      type: 'io.containerd.snapshotter.v1',
      id: snapshotter.name,
      platforms,
      exports: { root: snapshotter.root },
      // Tried out on the system when somebody wants to know.
      get capabilities() {
        return [...snapshotter.capabilities];
      },
    })),
    plain('io.containerd.metadata.v1', 'bolt'),
    { type: 'io.containerd.differ.v1', id: 'walking', platforms },
    plain('io.containerd.event.v1', 'exchange'),
    plain('io.containerd.gc.v1', 'scheduler'),
    plain('io.containerd.lease.v1', 'manager'),
    { type: 'io.containerd.monitor.container.v1', id: 'restart', capabilities: [...policyNames] },
    plain('io.containerd.sandbox.controller.v1', 'shim'),
    plain('io.containerd.sandbox.store.v1', 'local'),
    plain('io.containerd.streaming.v1', 'manager'),
    plain('io.containerd.transfer.v1', 'local'),
    { ...runtimePlugin, platforms },
    ...services.map((id) => plain('io.containerd.service.v1', id)),
    ...grpcServices.map((id) => plain('io.containerd.grpc.v1', id)),
  ];
}

/** Go's name for this machine's architecture, as in OCI platforms. */
function architecture(): string {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return names[process.arch] ?? process.arch;
}
