import { join } from 'node:path';
import { lockDirectory } from '#common/directory-lock.ts';
import { BerthError } from '#common/errors.ts';
import type { Service } from '#common/grpc/adapter.ts';
import { healthService } from '#common/grpc/health.ts';
import { GrpcServer } from '#common/grpc/server.ts';
import { imageDropService } from '#common/image-drop.ts';
import type { Logger } from '#common/log.ts';
import { serveMetrics } from '#common/metrics/serve-metrics.ts';
import { notifyServiceManager } from '#common/sd-notify.ts';
import { returnSpareMemory } from '#common/spare-memory.ts';
import { startTracing } from '#common/tracing/start-tracing.ts';
import { version } from '#common/version.ts';
import type { CoreConfig, DropConfig } from './config.ts';
import { containersService } from './containers/service.ts';
import { contentService } from './content/service.ts';
import { DropDirectory } from './drop/drop-directory.ts';
import { DroppedImages } from './drop/dropped-images.ts';
import { EventExchange } from './events/exchange.ts';
import { EventJournal } from './events/journal.ts';
import { eventsService, followService } from './events/service.ts';
import { imagesService } from './images/service.ts';
import { pluginsOf } from './introspection/plugins.ts';
import { rootUuid } from './introspection/root-uuid.ts';
import { introspectionService } from './introspection/service.ts';
import { leasesService } from './leases/service.ts';
import { Backups } from './metadata/backups.ts';
import { openMetadata } from './metadata/open-metadata.ts';
import { coreMetrics } from './metrics.ts';
import { MountManager } from './mounts/mount-manager.ts';
import { isNeeded } from './mounts/needed.ts';
import { mountsService } from './mounts/service.ts';
import { namespacesService } from './namespaces/service.ts';
import { joinCgroup } from './own-cgroup.ts';
import { rebuildRecords } from './rebuild/rebuild.ts';
import { monitoredContainers } from './restart/monitored.ts';
import { RestartMonitor } from './restart/restart-monitor.ts';
import { sandboxControllerService } from './sandboxes/controller-service.ts';
import { sandboxStoreService } from './sandboxes/store-service.ts';
import { snapshotsService } from './snapshots/service.ts';
import { openStores, type Stores } from './stores.ts';
import { tasksService } from './tasks/service.ts';
import { openTasks, type Tasks, tasksDirOf } from './tasks/tasks.ts';
import { openTransfers, type Transfers } from './transfer/transfers.ts';
import { storeService } from './upkeep/service.ts';
import { versionService } from './version/service.ts';

/** How long running calls may take to end when the daemon stops. */
const stopGraceMs = 2000;

/**
 * Composes the daemon and starts it, in the order in which its parts rest on each other. Disposing the answer stops it
 * in the reverse order; containers and their shims go on. A failed start leaves nothing running.
 * @throws what hindered the start, naming the path and the remedy.
 */
export async function startDaemon(config: CoreConfig, log: Logger): Promise<AsyncDisposable> {
  const { root, state, address } = config;
  await using started = new AsyncDisposableStack();

  started.use(await startTracing(config.tracing, 'berthd', log));
  if (config.cgroup !== '') joinCgroup(config.cgroup);
  started.use(lockDirectory('root', root));
  started.use(lockDirectory('state', state));
  const { db, backups, origin, recovered } = openMetadata(root, config.metadata.check, log);
  started.use(db);
  if (origin !== 'kept') {
    const { defaultRuntime, metadata } = config;
    rebuildRecords({ db, root, tasksDir: tasksDirOf(state), defaultRuntime, keepMs: metadata.keepRecovered, log });
    await db.durable();
    recovered();
  }
  started.use(returnSpareMemory());
  const journal = new EventJournal({
    directory: join(state, 'events'),
    onFailure: (error) => log.warn({ err: error }, 'events are not kept for clients that come back'),
  });
  started.defer(() => journal.close());
  const events = new EventExchange({ journal });
  const stores = openStores(root, db, events, log, config.gc);
  started.use(
    new Backups({
      db,
      files: backups,
      keep: config.metadata.backups,
      intervalMs: config.metadata.backupInterval,
      changes: config.metadata.backupChanges,
      log,
    }),
  );
  started.defer(() => stores.recordWriter.drain());
  started.defer(() => stores.scheduler.stop());
  started.defer(() => stores.snapshotters.close());

  stores.leases.releaseOwn();
  const mounts = new MountManager({
    directory: join(state, 'mounts'),
    roots: [root],
    isNeeded: (activation) => isNeeded(db, activation),
    log,
  });
  stores.collector.follow(() => mounts.collect());
  const tasks = started.use(
    await openTasks({
      stateDir: state,
      address,
      shimBinary: config.shimBinary,
      shimPer: config.shimPer,
      defaultRuntime: config.defaultRuntime,
      containers: stores.containers,
      sandboxes: stores.sandboxes,
      snapshotter: (name) => stores.snapshotters.named(name),
      mounts,
      events,
      log,
    }),
  );

  const transfers = started.use(
    openTransfers({
      ...stores,
      registry: config.registry,
      cacheDir: join(root, 'cache'),
      log,
    }),
  );

  const drop = started.use(openDrop(config.drop, stores, transfers, log));

  started.use(
    await serveMetrics(config.metricsAddress, 'berthd', log, (registry) => {
      coreMetrics(registry, { db, tasks: tasks.manager, transfers: transfers.metrics });
    }),
  );
  const server = new GrpcServer();
  server.add(healthService(log, { [imageDropService]: drop }));
  for (const service of services(stores, mounts, tasks, transfers, events, root, log)) server.add(service);
  await server.listen(address, { mode: 0o600 });
  started.defer(() => server.close(stopGraceMs));
  started.defer(() => {
    // Calls that wait for something to happen would use up the grace of those that are about to end.
    const reason = new BerthError('unavailable', 'berthd is stopping');
    events.close(reason);
    tasks.manager.beginStop(reason);
    tasks.sandboxes.beginStop(reason);
  });

  stores.scheduler.start();
  drop.start();
  const restarts = new RestartMonitor({
    monitored: () => monitoredContainers(db),
    containers: stores.containers,
    tasks: tasks.manager,
    intervalMs: config.restartIntervalMs,
    log,
  });
  restarts.start();
  started.use(restarts);
  notifyServiceManager('READY=1');
  started.defer(() => notifyServiceManager('STOPPING=1'));
  log.info({ address, root, state, version, pid: process.pid }, 'berthd is ready');

  const running = started.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function openDrop(config: DropConfig, stores: Stores, transfers: Transfers, log: Logger): DropDirectory {
  const { path: directory, namespace: ns } = config;
  const snapshotter = stores.snapshotters.named(config.snapshotter);
  return new DropDirectory({
    directory,
    images: new DroppedImages(stores.db, stores.images, ns),
    importArchive: (path, signal) => transfers.importFile({ ns, path, snapshotter, signal }),
    log,
  });
}

function services(
  stores: Stores,
  mounts: MountManager,
  tasks: Tasks,
  transfers: Transfers,
  events: EventExchange,
  root: string,
  log: Logger,
): Service[] {
  const { db, namespaces, leases, content, snapshotters, images, containers, sandboxes, scheduler } = stores;
  const collect = () => scheduler.collect();
  return [
    versionService(log),
    introspectionService({
      plugins: pluginsOf({ snapshotters: snapshotters.all }),
      runtimeInfo: tasks.runtimeInfo,
      uuid: rootUuid(db),
      log,
    }),
    namespacesService(namespaces, log),
    leasesService({ leases, collect, log }),
    contentService(content, log),
    snapshotsService(snapshotters, log),
    imagesService({ images, db, collect, log }),
    containersService(containers, log),
    mountsService(mounts, log),
    tasksService(tasks.manager, log),
    sandboxStoreService(sandboxes, log),
    sandboxControllerService({ sandboxes: tasks.sandboxes, records: sandboxes, events, log }),
    ...transfers.services,
    eventsService(events, log),
    followService(events, log),
    storeService({ db, root, verification: { ...stores, ...transfers.verification }, log }),
  ];
}
