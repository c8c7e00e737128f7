import type { Process } from '#common/oci/runtime-spec.ts';
import type { ContainerState__Output } from '#proto/runtime/v1/ContainerState.ts';
import type { SnapshotMounts } from '../core-client/types.ts';
import type { ContainerMetadata as CriMetadata, PodMetadata } from '../cri-types.ts';
import type { ContainerMetadata, ContainerStatus } from './records.ts';

/** A container, in memory. Metadata never changes; status is replaced as a whole, after it was stored. */
export class Container {
  readonly metadata: ContainerMetadata;
  status: ContainerStatus;
  /** The process of its spec, which commands run beside it inherit. */
  readonly process: Process | undefined;
  /** Its root file system, while that is at hand. */
  readonly rootfs: SnapshotMounts | undefined;
  /** Process id of the container's first process; 0 when it doesn't run. */
  pid = 0;
  /** The core may hold a task of it, running or ended. Its record must not go before. */
  hasTask = false;
  /** The kernel ended a process of it for lack of memory; the exit that follows says whether that was the first one. */
  oomSeen = false;
  /** The stop signal was sent: once is enough, however many calls wait. */
  stopSignalled = false;
  /** When a process that ignores the stop signal is killed: the earliest wish of all calls. Milliseconds. */
  killAt = Number.POSITIVE_INFINITY;
  readonly #exit = Promise.withResolvers<void>();

  constructor(
    metadata: ContainerMetadata,
    status: ContainerStatus,
    made: { process: Process | undefined; rootfs?: SnapshotMounts },
  ) {
    this.metadata = metadata;
    this.status = status;
    this.process = made.process;
    this.rootfs = made.rootfs;
    if (status.finishedAt !== undefined) this.#exit.resolve();
  }

  get id(): string {
    return this.metadata.id;
  }

  get state(): ContainerState__Output {
    if (this.status.finishedAt !== undefined) return 'CONTAINER_EXITED';
    return this.status.startedAt === undefined ? 'CONTAINER_CREATED' : 'CONTAINER_RUNNING';
  }

  /** Resolves when the process has ended and its status is stored. */
  get exited(): Promise<void> {
    return this.#exit.promise;
  }

  /** Takes over a status that was stored. */
  become(status: ContainerStatus): void {
    this.status = status;
    if (status.finishedAt === undefined) return;
    this.pid = 0;
    this.#exit.resolve();
  }
}

/** The name that no two containers may have at a time. */
export function containerName(container: CriMetadata, pod: PodMetadata): string {
  return [container.name, pod.name, pod.namespace, pod.uid, container.attempt].join('_');
}
