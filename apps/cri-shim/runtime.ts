import type { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import type { SpecDirectories } from './cdi/spec-directories.ts';
import type { Checkpoints } from './checkpoints.ts';
import type { PodNetwork } from './cni/network.ts';
import type { CriConfig } from './config.ts';
import type { Core } from './core-client/core.ts';
import type { RootfsDiff } from './core-client/rootfs-diff.ts';
import type { DeclaredVolumes } from './declared-volumes.ts';
import type { Executor } from './exec/executor.ts';
import type { ImageVolumes } from './image-volumes.ts';
import type { ImageDrop } from './images/image-drop.ts';
import type { ImageService } from './images/image-service.ts';
import type { LogManager } from './logs/log-manager.ts';
import type { Nri } from './nri/nri.ts';
import type { PodEvents } from './pod-events.ts';
import type { PodFiles } from './pod-files.ts';
import type { RuntimeHandlers } from './runtime-handlers.ts';
import type { Selinux } from './selinux/selinux.ts';
import type { HostFacts } from './spec/host.ts';
import type { Stats } from './stats/stats.ts';
import type { Stdio } from './stdio.ts';
import type { Container } from './store/container.ts';
import type { Index } from './store/index.ts';
import type { Names } from './store/names.ts';
import type { Sandbox } from './store/sandbox.ts';
import type { StreamingServer } from './streaming/streaming-server.ts';
import type { Janitor } from './undo.ts';

/** Everything that the handlers of the runtime service work with; built once, in daemon.ts. */
export interface Runtime {
  readonly config: CriConfig;
  readonly log: Logger;
  readonly host: HostFacts;
  /** undefined: nothing gets labels. */
  readonly selinux: Selinux | undefined;
  readonly core: Core;
  readonly rootfsDiff: RootfsDiff;
  readonly checkpoints: Checkpoints;
  readonly handlers: RuntimeHandlers;
  readonly network: PodNetwork;
  readonly cdi: SpecDirectories;
  readonly nri: Nri;
  readonly images: ImageService;
  readonly imageDrop: ImageDrop;
  readonly logs: LogManager;
  readonly exec: Executor;
  readonly streaming: StreamingServer;
  readonly files: PodFiles;
  readonly stats: Stats;
  readonly stdio: Stdio;
  readonly volumes: ImageVolumes;
  readonly declaredVolumes: DeclaredVolumes;
  readonly sandboxes: Index<Sandbox>;
  readonly containers: Index<Container>;
  readonly podEvents: PodEvents;
  readonly sandboxNames: Names;
  readonly containerNames: Names;
  readonly janitor: Janitor;
  /**
   * Changes of one pod or container happen one after another, under its id. Nobody waits for an exit under it: exits
   * are handled under it, too.
   */
  readonly queue: KeyedQueue;
}
