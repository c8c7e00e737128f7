import { type Client, connect } from '#common/grpc/client.ts';
import type { ContainersDefinition, ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { DiffDefinition, DiffHandlers } from '#proto/containerd/services/diff/v1/Diff.ts';
import type { EventsDefinition, EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import type { ImagesDefinition, ImagesHandlers } from '#proto/containerd/services/images/v1/Images.ts';
import type {
  IntrospectionDefinition,
  IntrospectionHandlers,
} from '#proto/containerd/services/introspection/v1/Introspection.ts';
import type { LeasesDefinition, LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';
import type { MountsDefinition, MountsHandlers } from '#proto/containerd/services/mounts/v1/Mounts.ts';
import type { NamespacesDefinition, NamespacesHandlers } from '#proto/containerd/services/namespaces/v1/Namespaces.ts';
import type { ControllerDefinition, ControllerHandlers } from '#proto/containerd/services/sandbox/v1/Controller.ts';
import type { StoreDefinition, StoreHandlers } from '#proto/containerd/services/sandbox/v1/Store.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import type { StreamingDefinition, StreamingHandlers } from '#proto/containerd/services/streaming/v1/Streaming.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import type { TransferDefinition, TransferHandlers } from '#proto/containerd/services/transfer/v1/Transfer.ts';
import type { VersionDefinition, VersionHandlers } from '#proto/containerd/services/version/v1/Version.ts';
import type { HealthDefinition, HealthHandlers } from '#proto/grpc/health/v1/Health.ts';

export interface CoreClients extends Disposable {
  readonly containers: Client<ContainersHandlers, ContainersDefinition>;
  readonly content: Client<ContentHandlers, ContentDefinition>;
  readonly diff: Client<DiffHandlers, DiffDefinition>;
  readonly events: Client<EventsHandlers, EventsDefinition>;
  readonly health: Client<HealthHandlers, HealthDefinition>;
  readonly images: Client<ImagesHandlers, ImagesDefinition>;
  readonly introspection: Client<IntrospectionHandlers, IntrospectionDefinition>;
  readonly leases: Client<LeasesHandlers, LeasesDefinition>;
  readonly mounts: Client<MountsHandlers, MountsDefinition>;
  readonly namespaces: Client<NamespacesHandlers, NamespacesDefinition>;
  readonly sandboxController: Client<ControllerHandlers, ControllerDefinition>;
  readonly sandboxes: Client<StoreHandlers, StoreDefinition>;
  readonly snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly streaming: Client<StreamingHandlers, StreamingDefinition>;
  readonly tasks: Client<TasksHandlers, TasksDefinition>;
  readonly transfer: Client<TransferHandlers, TransferDefinition>;
  readonly version: Client<VersionHandlers, VersionDefinition>;
}

/** Clients of the containerd API on a socket; calls go to `namespace` unless they say otherwise. */
export function coreClients(socket: string, namespace: string): CoreClients {
  const channel = connect(socket, { namespace });
  const service = 'containerd.services';
  return {
    containers: channel.client(`${service}.containers.v1.Containers`),
    content: channel.client(`${service}.content.v1.Content`),
    diff: channel.client(`${service}.diff.v1.Diff`),
    events: channel.client(`${service}.events.v1.Events`),
    health: channel.client('grpc.health.v1.Health'),
    images: channel.client(`${service}.images.v1.Images`),
    introspection: channel.client(`${service}.introspection.v1.Introspection`),
    leases: channel.client(`${service}.leases.v1.Leases`),
    mounts: channel.client(`${service}.mounts.v1.Mounts`),
    namespaces: channel.client(`${service}.namespaces.v1.Namespaces`),
    sandboxController: channel.client(`${service}.sandbox.v1.Controller`),
    sandboxes: channel.client(`${service}.sandbox.v1.Store`),
    snapshots: channel.client(`${service}.snapshots.v1.Snapshots`),
    streaming: channel.client(`${service}.streaming.v1.Streaming`),
    tasks: channel.client(`${service}.tasks.v1.Tasks`),
    transfer: channel.client(`${service}.transfer.v1.Transfer`),
    version: channel.client(`${service}.version.v1.Version`),
    [Symbol.dispose]: () => channel.close(),
  };
}
