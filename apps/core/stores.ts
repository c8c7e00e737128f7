import { join } from 'node:path';
import type { Logger } from '#common/log.ts';
import { SqliteContainerStore } from './containers/sqlite-containers.ts';
import type { ContainerStore } from './containers/store.ts';
import { LocalContentStore } from './content/local-store.ts';
import type { EventPublisher } from './events/events.ts';
import { Collector } from './gc/collector.ts';
import { defaultSchedule, type Schedule, Scheduler } from './gc/scheduler.ts';
import { imageRecordFiles, SqliteImageStore } from './images/sqlite-images.ts';
import type { ImageStore } from './images/store.ts';
import { SqliteLeaseStore } from './leases/sqlite-leases.ts';
import type { Database } from './metadata/database.ts';
import { RecordWriter } from './metadata/record-writer.ts';
import { SqliteNamespaceStore } from './namespaces/sqlite-namespaces.ts';
import type { NamespaceStore } from './namespaces/store.ts';
import { sandboxRecordFiles } from './sandboxes/sandbox-file.ts';
import { SqliteSandboxStore } from './sandboxes/sqlite-sandboxes.ts';
import type { SandboxStore } from './sandboxes/store.ts';
import { canMapLayers } from './snapshots/mapped-layers.ts';
import { NativeDriver } from './snapshots/native-driver.ts';
import { OverlayDriver } from './snapshots/overlay-driver.ts';
import { Snapshotters } from './snapshots/snapshotters.ts';

/** Everything that lasts, and the collector that looks after it. */
export interface Stores {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  readonly leases: SqliteLeaseStore;
  readonly content: LocalContentStore;
  readonly snapshotters: Snapshotters;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly collector: Collector;
  /** To be drained before the daemon ends. */
  readonly recordWriter: RecordWriter;
  /** Runs the collector once it is started. */
  readonly scheduler: Scheduler;
}

/** Opens the stores below `root` on one database. */
export function openStores(
  root: string,
  db: Database,
  events: EventPublisher,
  log: Logger,
  schedule: Schedule = defaultSchedule,
): Stores {
  // The stores tell of what is to be collected from them: the scheduler is there by the time the first one does.
  const onRelease = (): void => scheduler.deleted();
  const namespaces = new SqliteNamespaceStore(db, events);
  const leases = new SqliteLeaseStore(db, namespaces, onRelease);
  const recordWriter = new RecordWriter((path, error) =>
    log.warn({ path, err: error }, 'record not written to its file'),
  );
  const parts = { db, namespaces, leases, events, onRelease, recordWriter };
  const content = new LocalContentStore(join(root, 'content'), parts);
  const snapshotsRoot = join(root, 'snapshots');
  const snapshotters = new Snapshotters(
    snapshotsRoot,
    [new OverlayDriver(() => canMapLayers(snapshotsRoot)), new NativeDriver()],
    {
      ...parts,
      onLeftOver: (path, error) => log.warn({ path, err: error }, 'snapshot directory left over'),
    },
  );
  const collector = new Collector({ db, events, content, snapshotters });
  const scheduler = new Scheduler(schedule, {
    collector,
    onCollected: (result) => {
      if (result instanceof Error) log.error({ err: result }, 'garbage collection failed');
      else log.info(result, 'garbage collected');
    },
  });
  db.onCommit(() => scheduler.mutated());
  const images = new SqliteImageStore({ ...parts, records: imageRecordFiles(join(root, 'images'), recordWriter) });
  images.tidyRecordFiles();
  const containers = new SqliteContainerStore(parts);
  const sandboxRecords = sandboxRecordFiles(join(root, 'sandboxes'), recordWriter);
  const sandboxes = new SqliteSandboxStore({ ...parts, records: sandboxRecords });
  sandboxes.tidyRecordFiles();
  const stores = { db, namespaces, leases, content, snapshotters, images, containers, sandboxes };
  return { ...stores, collector, scheduler, recordWriter };
}
