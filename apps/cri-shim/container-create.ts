import { hostname } from 'node:os';
import { BerthError } from '#common/errors.ts';
import type { CreateContainerRequest__Output } from '#proto/runtime/v1/CreateContainerRequest.ts';
import type { SELinuxOption__Output as SelinuxOption } from '#proto/runtime/v1/SELinuxOption.ts';
import { CdiInjector } from './cdi/injector.ts';
import { requestedCdiDevices } from './cdi/requested-devices.ts';
import { prepareDeclaredVolumes } from './container-declared-volumes.ts';
import { prepareImageVolumes } from './container-image-volumes.ts';
import { type ContainerConfig, containerConfigFromWire } from './cri-types.ts';
import { newId } from './ids.ts';
import { confineLogPath } from './logs/log-path.ts';
import type { Runtime } from './runtime.ts';
import type { SelinuxLabels } from './selinux/labels.ts';
import { containerSpec } from './spec/container-spec.ts';
import { imageProcess } from './spec/image-process.ts';
import { RootfsReader } from './spec/rootfs-reader.ts';
import { checkRuntimeSupport } from './spec/runtime-support.ts';
import { stopSignalNumber } from './spec/stop-signal.ts';
import { processUser } from './spec/user.ts';
import { podIdMap, snapshotMapping } from './spec/user-namespace.ts';
import { Container, containerName } from './store/container.ts';
import type { Operation } from './store/names.ts';
import { type ContainerMetadata, extensions, kindLabel, newContainerStatus, recordVersion } from './store/records.ts';
import type { Sandbox } from './store/sandbox.ts';
import { now } from './time.ts';

/** Label of a container's snapshot, by which recovery finds those that a crash left without a record. */
export const snapshotLabel = 'berth.cri/container';

/** CreateContainer: the root file system and the record with its runtime spec. Nothing runs yet. */
export async function createContainer(
  rt: Runtime,
  request: CreateContainerRequest__Output,
  signal: AbortSignal,
): Promise<string> {
  if (request.config?.metadata == null || request.config.metadata.name === '') {
    throw new BerthError('invalid_argument', 'the container has no config.metadata.name');
  }
  const config = containerConfigFromWire(request.config);
  const sandbox = readySandbox(rt, request.podSandboxId);
  const pod = sandbox.metadata.config.metadata;
  if (config.metadata === null || pod === null) throw new BerthError('invalid_argument', 'metadata is missing');
  const name = containerName(config.metadata, pod);
  return await rt.containerNames.claim(name, JSON.stringify([config, sandbox.id]), signal, (operation) =>
    rt.nri.during(() => create(rt, { sandbox, config, name, operation })),
  );
}

/** @throws not_found; failed_precondition when the pod doesn't run. */
export function readySandbox(rt: Runtime, id: string): Sandbox {
  const sandbox = rt.sandboxes.get(id);
  if (sandbox.ready) return sandbox;
  throw new BerthError('failed_precondition', `pod sandbox ${sandbox.id} is not running`);
}

interface Wanted {
  readonly sandbox: Sandbox;
  readonly config: ContainerConfig;
  readonly name: string;
  readonly operation: Operation;
}

async function create(rt: Runtime, { sandbox, config, name, operation }: Wanted): Promise<string> {
  const id = newId();
  operation.stage('resolving the image');
  const image = await rt.images.resolve(config.image?.image ?? '');
  const process = imageProcess(image.config);
  const logPath = confineLogPath(sandbox.metadata.config.logDirectory, config.logPath) ?? '';
  const stopSignal = stopSignalNumber(config.stopSignal, process.stopSignal);
  const cdiDevices = requestedCdiDevices(config);
  const targetPid = targetProcess(rt, sandbox, config);
  const security = config.linux?.securityContext ?? null;
  const selinux = containerSelinux(rt, sandbox, security?.selinuxOptions ?? null);
  await using undo = rt.janitor.undo(id);

  operation.stage('preparing the root file system');
  undo.add('remove the root file system', () => rt.core.removeSnapshot(id));
  // A root for the garbage collector until the record, which then holds it too, is there.
  const labels = {
    [snapshotLabel]: sandbox.id,
    'containerd.io/gc.root': new Date().toISOString(),
    ...snapshotMapping(podIdMap(sandbox.metadata.config)),
  };
  const rootfs = await rt.core.prepareSnapshot(id, image.chainId, labels);

  const podMounts = rt.files.podMounts(sandbox.id, sandbox.sharing, security?.readonlyRootfs ?? false);
  const taken = [...config.mounts, ...podMounts].map(({ containerPath }) => containerPath);
  const declared = await prepareDeclaredVolumes(rt, undo, { id, paths: process.volumes, taken, rootfs });
  const mounts = await prepareImageVolumes(rt, undo, { id, mounts: config.mounts, labels, mountLabel: selinux?.mount });

  operation.stage('building the runtime spec');
  const user = await processUser(security, process.user, new RootfsReader(rootfs));
  const features = await rt.handlers.features(sandbox.metadata.runtimeHandler);
  const { spec, placement } = await containerSpec({
    id,
    config: { ...config, mounts: mounts.mounted },
    image: { name: image.name, process },
    user,
    host: rt.host,
    features,
    hostname: sandbox.metadata.config.hostname || hostname(),
    sandbox: { ...sandbox.metadata, pid: sandbox.pid },
    podMounts: [...podMounts, ...declared],
    selinux,
    ...(targetPid === undefined ? {} : { targetPid }),
  });

  const cdi = new CdiInjector(rt.cdi, spec);
  await cdi.inject(cdiDevices);

  const metadata: ContainerMetadata = {
    version: recordVersion,
    id,
    name,
    sandboxId: sandbox.id,
    config: { ...config, mounts: mounts.told },
    createdAt: now(),
    imageId: image.id,
    imageRef: image.repoDigests[0] ?? image.id,
    imageName: image.repoTags[0] ?? image.name,
    logPath,
    stopSignal,
    user: { uid: user.uid, gid: user.gid, supplementalGroups: user.additionalGids },
    ...(selinux === undefined ? {} : { selinux }),
  };
  operation.stage('asking NRI plugins');
  await rt.nri.createContainer(sandbox, metadata, spec, cdi);
  checkRuntimeSupport(spec, features);
  operation.stage('recording the container');
  undo.addLast('delete the record', () => rt.core.deleteRecord(id));
  await rt.core.createRecord({
    id,
    labels: { ...config.labels, [kindLabel]: 'container' },
    image: image.name,
    runtime: rt.handlers.runtime(sandbox.metadata.runtimeHandler, placement.driver),
    spec,
    extensions: { [extensions.container]: metadata, [extensions.containerStatus]: newContainerStatus },
  });
  // The pod may have been stopped meanwhile; then nobody would ever remove this container.
  readySandbox(rt, sandbox.id);
  const container = new Container(metadata, newContainerStatus, { process: spec.process, rootfs });
  rt.containers.add(container);
  undo.keep();
  rt.podEvents.container('CONTAINER_CREATED_EVENT', container);
  await rt.nri.told(
    'PostCreateContainer',
    rt.nri.containerEvent('PostCreateContainer', sandbox, container, async () => spec),
  );
  return id;
}

/** The container's SELinux labels; none in a pod that was made without. */
function containerSelinux(rt: Runtime, sandbox: Sandbox, wanted: SelinuxOption | null): SelinuxLabels | undefined {
  const pod = sandbox.metadata.selinux;
  if (pod !== undefined && rt.selinux !== undefined) return rt.selinux.containerLabels(wanted, pod);
  if (wanted !== null) rt.log.warn({ pod: sandbox.id }, 'SELinux options are ignored: selinux.enable is off, or was');
  return undefined;
}

/** The process whose PID namespace the container joins, for mode TARGET. */
function targetProcess(rt: Runtime, sandbox: Sandbox, config: ContainerConfig): number | undefined {
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options?.pid !== 'TARGET') return undefined;
  const target = rt.containers.get(options.targetId);
  if (target.metadata.sandboxId !== sandbox.id) {
    throw new BerthError('invalid_argument', `target container ${target.id} is not in pod ${sandbox.id}`);
  }
  if (target.pid !== 0) return target.pid;
  throw new BerthError('failed_precondition', `target container ${target.id} is not running`);
}
