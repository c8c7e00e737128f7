import { type Channel, type Client, connect } from '#common/grpc/client.ts';
import type { StoreDefinition, StoreHandlers } from '#proto/berth/services/store/v1/Store.ts';
import type { ContainersDefinition, ContainersHandlers } from '#proto/containerd/services/containers/v1/Containers.ts';
import type { ContentDefinition, ContentHandlers } from '#proto/containerd/services/content/v1/Content.ts';
import type { EventsDefinition, EventsHandlers } from '#proto/containerd/services/events/v1/Events.ts';
import type { ImagesDefinition, ImagesHandlers } from '#proto/containerd/services/images/v1/Images.ts';
import type {
  IntrospectionDefinition,
  IntrospectionHandlers,
} from '#proto/containerd/services/introspection/v1/Introspection.ts';
import type { LeasesDefinition, LeasesHandlers } from '#proto/containerd/services/leases/v1/Leases.ts';
import type { NamespacesDefinition, NamespacesHandlers } from '#proto/containerd/services/namespaces/v1/Namespaces.ts';
import type { SnapshotsDefinition, SnapshotsHandlers } from '#proto/containerd/services/snapshots/v1/Snapshots.ts';
import type { StreamingDefinition, StreamingHandlers } from '#proto/containerd/services/streaming/v1/Streaming.ts';
import type { TasksDefinition, TasksHandlers } from '#proto/containerd/services/tasks/v1/Tasks.ts';
import type { TransferDefinition, TransferHandlers } from '#proto/containerd/services/transfer/v1/Transfer.ts';

/** The services of containerd's API that the verbs call. */
export interface Core extends Disposable {
  readonly channel: Channel;
  readonly containers: Client<ContainersHandlers, ContainersDefinition>;
  readonly content: Client<ContentHandlers, ContentDefinition>;
  readonly events: Client<EventsHandlers, EventsDefinition>;
  readonly images: Client<ImagesHandlers, ImagesDefinition>;
  readonly introspection: Client<IntrospectionHandlers, IntrospectionDefinition>;
  readonly leases: Client<LeasesHandlers, LeasesDefinition>;
  readonly namespaces: Client<NamespacesHandlers, NamespacesDefinition>;
  /** Only berthd has it. */
  readonly store: Client<StoreHandlers, StoreDefinition>;
  readonly snapshots: Client<SnapshotsHandlers, SnapshotsDefinition>;
  readonly streaming: Client<StreamingHandlers, StreamingDefinition>;
  readonly tasks: Client<TasksHandlers, TasksDefinition>;
  readonly transfer: Client<TransferHandlers, TransferDefinition>;
}

/** Connects when the first call is made; calls go to `namespace` unless they say otherwise. */
export function connectCore(address: string, namespace: string): Core {
  const channel = connect(address, { namespace });
  const service = 'containerd.services';
  return {
    channel,
    containers: channel.client(`${service}.containers.v1.Containers`),
    content: channel.client(`${service}.content.v1.Content`),
    events: channel.client(`${service}.events.v1.Events`),
    images: channel.client(`${service}.images.v1.Images`),
    introspection: channel.client(`${service}.introspection.v1.Introspection`),
    leases: channel.client(`${service}.leases.v1.Leases`),
    namespaces: channel.client(`${service}.namespaces.v1.Namespaces`),
    store: channel.client('berth.services.store.v1.Store'),
    snapshots: channel.client(`${service}.snapshots.v1.Snapshots`),
    streaming: channel.client(`${service}.streaming.v1.Streaming`),
    tasks: channel.client(`${service}.tasks.v1.Tasks`),
    transfer: channel.client(`${service}.transfer.v1.Transfer`),
    [Symbol.dispose]: () => channel.close(),
  };
}
