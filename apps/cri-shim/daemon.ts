import { join } from 'node:path';
import { lockDirectory } from '#common/directory-lock.ts';
import { messageOf } from '#common/errors.ts';
import { healthService } from '#common/grpc/health.ts';
import { GrpcServer } from '#common/grpc/server.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import { metricsAddress } from '#common/metrics/metrics-address.ts';
import { serveMetrics } from '#common/metrics/serve-metrics.ts';
import { notifyServiceManager } from '#common/sd-notify.ts';
import { returnSpareMemory } from '#common/spare-memory.ts';
import { startTracing } from '#common/tracing/start-tracing.ts';
import { version } from '#common/version.ts';
import { SpecDirectories } from './cdi/spec-directories.ts';
import { Checkpoints } from './checkpoints.ts';
import { ConfigDir } from './cni/config-dir.ts';
import { PodNetwork } from './cni/network.ts';
import { PluginRunner } from './cni/plugin.ts';
import { ResultCache } from './cni/result-cache.ts';
import type { CriConfig } from './config.ts';
import { Core, coreNamespace } from './core-client/core.ts';
import { RootfsDiff } from './core-client/rootfs-diff.ts';
import { criMetrics } from './daemon-metrics.ts';
import { DeclaredVolumes } from './declared-volumes.ts';
import { TaskExecutor } from './exec/task-executor.ts';
import { ImageVolumes } from './image-volumes.ts';
import { CoreImageService } from './images/core-image-service.ts';
import { ImageDrop } from './images/image-drop.ts';
import { imageService } from './images/service.ts';
import { WorkerLogManager } from './logs/worker-log-manager.ts';
import { Monitor } from './monitor.ts';
import { NriConnections } from './nri/connections.ts';
import { Nri } from './nri/nri.ts';
import { nriHost } from './nri/runtime-host.ts';
import { PodEvents } from './pod-events.ts';
import { PodFiles } from './pod-files.ts';
import { recover } from './recover.ts';
import type { Runtime } from './runtime.ts';
import { runtimeAdvisory } from './runtime-advisories.ts';
import { RuntimeHandlers } from './runtime-handlers.ts';
import { Selinux } from './selinux/selinux.ts';
import { runtimeService } from './service.ts';
import { readHostFacts } from './spec/host.ts';
import { Stats } from './stats/stats.ts';
import { Stdio } from './stdio.ts';
import type { Container } from './store/container.ts';
import { Index } from './store/index.ts';
import { Names } from './store/names.ts';
import type { Sandbox } from './store/sandbox.ts';
import { serveRequest } from './streaming/serve-request.ts';
import { type ServerIdentity, serverIdentity } from './streaming/server-identity.ts';
import { StreamingServer } from './streaming/streaming-server.ts';
import { type Orphans, sweep } from './sweep.ts';
import { Janitor } from './undo.ts';

/** How long running calls may take to end when the daemon stops. */
const stopGraceMs = 2000;
/** Between two lines about a berthd that isn't there. */
const waitLogMs = 5000;

/**
 * Composes the daemon and starts it, in the order in which its parts rest on each other: events are subscribed to
 * before the state is rebuilt, and nothing is served before it is. Disposing the answer stops it in the reverse order;
 * pods go on. A failed start leaves nothing running.
 *
 * @param stop ends the wait for berthd
 * @throws what hindered the start, naming the path and the remedy.
 */
export async function startDaemon(config: CriConfig, log: Logger, stop: AbortSignal): Promise<AsyncDisposable> {
  const { root, state, address } = config;
  await using started = new AsyncDisposableStack();
  started.use(await startTracing(config.tracing, 'berth-cri', log));
  started.use(lockDirectory('root', root));
  started.use(lockDirectory('state', state));
  started.use(returnSpareMemory());
  const rt = compose(config, await serverIdentity(config.streaming), log);
  started.defer(() => rt.core.close());
  started.use(rt.exec);
  started.defer(() => rt.logs.close());
  started.defer(() => rt.janitor.close());
  await rt.files.prepare();
  await rt.stdio.prepare();
  await rt.volumes.prepare();
  await rt.declaredVolumes.prepare();
  await rt.checkpoints.prepare();

  await coreReady(rt, stop);
  started.defer(() => rt.images.close());
  await rt.images.start();
  const monitor = new Monitor(rt);
  started.defer(() => monitor.close());
  let left: Orphans | undefined;
  await monitor.start(async () => {
    left = await recover(rt);
  });

  const nri = new NriConnections(config.nri, rt.nri, log);
  started.defer(() => nri.close());
  await nri.start();
  await rt.streaming.listen();
  started.defer(() => rt.streaming.close());
  started.use(
    await serveMetrics(metricsAddress(config.metrics.address), 'berth-cri', log, (registry) =>
      criMetrics(registry, rt),
    ),
  );
  const server = new GrpcServer();
  server.add(healthService(log)).add(runtimeService(rt)).add(imageService(rt.images, log));
  await server.listen(address, { mode: 0o600 });
  started.defer(() => server.close(stopGraceMs));
  // Pods mustn't look for their images before those are imported; until then Status says why the node isn't ready.
  const closing = new AbortController();
  const dropped = rt.imageDrop.follow(closing.signal, async () => {
    await rt.images.reload();
    notifyServiceManager('READY=1');
    log.info({ address, core: config.core.address, root, state, version, pid: process.pid }, 'berth-cri is ready');
  });
  started.defer(async () => {
    closing.abort();
    await dropped;
    notifyServiceManager('STOPPING=1');
  });
  if (left !== undefined) void sweep(rt, left);
  void warnOfRuntimes(rt);

  const running = started.move();
  return { [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function compose(config: CriConfig, identity: ServerIdentity | undefined, log: Logger): Runtime {
  const { root, state, cni } = config;
  const handlers = new RuntimeHandlers(config);
  const sandboxes = new Index<Sandbox>('pod sandbox');
  const containers = new Index<Container>('container');
  const core = new Core(config.core.address, config.core.snapshotter);
  const { idleTimeout, address: host, port } = config.streaming;
  const rt: Runtime = {
    config,
    log,
    host: readHostFacts(),
    selinux: selinuxOf(config, log),
    core,
    rootfsDiff: new RootfsDiff(core.channel, config.core.snapshotter),
    checkpoints: new Checkpoints(root),
    handlers,
    network: new PodNetwork({
      configs: new ConfigDir(cni.confDir, cni.maxConfNum),
      handlerConfigs: handlerNetworks(config),
      plugins: new PluginRunner(cni.binDirs, cni.timeout),
      cache: new ResultCache(cni.cacheDir),
      serially: cni.setupSerially,
    }),
    cdi: new SpecDirectories(config.cdi.specDirs),
    images: new CoreImageService({
      channel: core.channel,
      namespace: coreNamespace,
      snapshotter: config.core.snapshotter,
      hostsDirectory: config.registry.configPath,
      sandboxImage: config.sandboxImage,
      servePause: config.servePause,
      log,
    }),
    imageDrop: new ImageDrop(core.channel, log),
    logs: new WorkerLogManager({
      stateDirectory: join(state, 'logs'),
      maxLine: config.containerLogs.maxLineSize,
      log,
    }),
    exec: new TaskExecutor({ channel: core.channel, stateDirectory: join(state, 'exec'), log }),
    streaming: new StreamingServer(
      { address: host, port, identity, idleMs: idleTimeout, log },
      (request, upgrade, socket, head) => serveRequest(rt, request, upgrade, socket, head),
    ),
    stats: new Stats({
      layerUsage: (id) => core.snapshotUsage(id),
      layersRoot: async () => (await rt.images.fsInfo()).mountpoint,
    }),
    files: new PodFiles(root, state),
    stdio: new Stdio(state),
    volumes: new ImageVolumes(state),
    declaredVolumes: new DeclaredVolumes(root),
    sandboxes,
    containers,
    podEvents: new PodEvents(sandboxes, containers),
    sandboxNames: new Names('pod sandbox'),
    containerNames: new Names('container'),
    janitor: new Janitor(log),
    queue: new KeyedQueue(),
    nri: new Nri(log, config.nri.enable ? config.nri.requiredPlugins : [], () => nriHost(rt)),
  };
  return rt;
}

function selinuxOf({ selinux }: CriConfig, log: Logger): Selinux | undefined {
  if (!selinux.enable) return undefined;
  const found = Selinux.ofHost(selinux.categoryRange);
  if (found === undefined)
    log.warn('selinux.enable is true, but this kernel runs without SELinux: nothing gets labels');
  return found;
}

/** Says once which OCI runtimes are older than the fixes of known escapes. */
async function warnOfRuntimes({ handlers, log }: Runtime): Promise<void> {
  for (const binary of handlers.binaries) {
    const advisory = await runtimeAdvisory(binary);
    if (advisory !== undefined) log.warn({ binary }, advisory);
  }
}

/** Where runtime handlers have networks of their own. */
function handlerNetworks({ runtimes, cni }: CriConfig): Map<string, ConfigDir> {
  const own = Object.entries(runtimes).filter(([, { cniConfDir }]) => cniConfDir !== '');
  return new Map(
    own.map(([name, { cniConfDir, cniMaxConfNum }]) => [
      name,
      new ConfigDir(cniConfDir, cniMaxConfNum || cni.maxConfNum),
    ]),
  );
}

/** Waits for berthd as long as it takes: which of the two daemons starts first doesn't matter. */
async function coreReady(rt: Runtime, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      return await rt.core.waitReady(waitLogMs);
    } catch (error) {
      rt.log.warn(`waiting for berthd: ${messageOf(error)}`);
    }
  }
  stop.throwIfAborted();
}
