import { BerthError } from '#common/errors.ts';
import type { RunPodSandboxRequest__Output } from '#proto/runtime/v1/RunPodSandboxRequest.ts';
import { allSettled } from './all-settled.ts';
import { capabilityArgs } from './cni/capability-args.ts';
import { mergeResults, podAddresses } from './cni/result.ts';
import type { PodConfig, PodMetadata } from './cri-types.ts';
import { newId } from './ids.ts';
import { podAttachment } from './pod-network.ts';
import type { Runtime } from './runtime.ts';
import type { SelinuxLabels } from './selinux/labels.ts';
import { imageProcess } from './spec/image-process.ts';
import { podSharing } from './spec/namespaces.ts';
import { sandboxSpec } from './spec/sandbox-spec.ts';
import { processUser } from './spec/user.ts';
import { podIdMap, snapshotMapping } from './spec/user-namespace.ts';
import { updateSandbox } from './status-update.ts';
import type { Operation } from './store/names.ts';
import { extensions, kindLabel, newSandboxStatus, recordVersion, type SandboxMetadata } from './store/records.ts';
import { Sandbox, sandboxName } from './store/sandbox.ts';
import { discardTask } from './task-discard.ts';
import { now } from './time.ts';

/**
 * RunPodSandbox: the pod's network namespace, files and pause container, attached to the network.
 *
 * The record in the core comes before anything that outlives a crash (network namespace, addresses), so that recovery
 * finds what to take back.
 */
export async function runSandbox(
  rt: Runtime,
  request: RunPodSandboxRequest__Output,
  signal: AbortSignal,
): Promise<string> {
  const { config, metadata } = checkedConfig(request.config);
  const handler = rt.handlers.resolve(request.runtimeHandler);
  const name = sandboxName(metadata);
  return await rt.sandboxNames.claim(name, JSON.stringify([config, handler]), signal, (operation) =>
    rt.nri.during(() => createSandbox(rt, { config, handler, name, operation })),
  );
}

interface Wanted {
  readonly config: PodConfig;
  readonly handler: string;
  readonly name: string;
  readonly operation: Operation;
}

async function createSandbox(rt: Runtime, { config, handler, name, operation }: Wanted): Promise<string> {
  const id = newId();
  const sharing = podSharing(config);
  const userNamespace = podIdMap(config);
  if (userNamespace !== undefined && !(await rt.handlers.features(handler)).userNamespaces) {
    throw new BerthError(
      'failed_precondition',
      `runtime handler "${handler}" doesn't support user namespaces: choose one whose OCI runtime has id-mapped mounts`,
    );
  }
  operation.stage('checking network and image');
  if (!sharing.hostNetwork) await rt.network.ready(handler);
  const image = await rt.images.ensureSandboxImage();
  const process = imageProcess(image.config);
  const user = await processUser(
    { ...noUser, ...config.linux?.securityContext, runAsUsername: '' },
    process.user,
    // Pause is one static program: there are no names to look up.
    { read: async () => undefined },
  );
  const selinux = rt.selinux?.podLabels(config.linux?.securityContext?.selinuxOptions ?? null, takenLabels(rt));
  const metadata: SandboxMetadata = {
    version: recordVersion,
    id,
    name,
    config,
    runtimeHandler: handler,
    createdAt: now(),
    netnsPath: sharing.hostNetwork ? '' : rt.files.netnsPath(id),
    ...(selinux === undefined ? {} : { selinux }),
  };
  const { spec, placement } = sandboxSpec({
    id,
    config,
    image: { reference: rt.config.sandboxImage, process },
    user,
    host: rt.host,
    netnsPath: metadata.netnsPath,
    userNamespace,
    selinux,
    shmPath: rt.files.shmPath(id),
    resolvPath: rt.files.resolvPath(id),
  });
  const runtime = rt.handlers.runtime(handler, placement.driver);
  const sandbox = new Sandbox(metadata, newSandboxStatus);
  await using undo = rt.janitor.undo(id);
  undo.add('forget the pod', () => rt.sandboxes.delete(id));
  rt.sandboxes.add(sandbox);

  operation.stage('recording the pod');
  undo.addLast('delete the record', () => rt.core.deleteRecord(id));
  await rt.core.createRecord({
    id,
    labels: { ...config.labels, [kindLabel]: 'sandbox' },
    image: image.name,
    runtime,
    spec,
    extensions: { [extensions.sandbox]: metadata, [extensions.sandboxStatus]: newSandboxStatus },
  });

  operation.stage('preparing files');
  undo.add('remove the root file system', () => rt.core.removeSnapshot(id));
  undo.add("remove the pod's files", () => rt.files.remove(id));
  undo.add('remove the network namespace', () => rt.files.removeNetns(id));
  const [rootfs] = await allSettled([
    rt.core.prepareSnapshot(id, image.chainId, snapshotMapping(userNamespace)),
    rt.files.create(id, config, sharing, selinux?.mount),
    sharing.hostNetwork || userNamespace !== undefined ? undefined : rt.files.createNetns(id),
  ]);

  operation.stage('attaching to the network, creating the task');
  undo.add('discard the task', () => discardTask(rt.core, id));
  sandbox.hasTask = true;
  const attachment = podAttachment(metadata);
  if (attachment !== undefined) {
    undo.add('detach from the network', () => rt.network.detach(attachment));
  }
  const task = rt.core.createTask({ id, rootfs, mountLabel: selinux?.mount });
  // The network namespace is there before the task, or made with the pod's user namespace by it.
  const connected = userNamespace === undefined ? Promise.resolve() : task.then((made) => rt.files.pinNetns(id, made));
  const [results, pid] = await allSettled([
    attachment === undefined ? undefined : connected.then(() => rt.network.attach(attachment)),
    task,
  ]);

  operation.stage('starting the task');
  sandbox.pid = pid;
  const { ipPref } = rt.config.cni;
  const network =
    results === undefined ? {} : { addresses: podAddresses(results[0], ipPref), cniResult: mergeResults(results) };
  const started = { startedAt: now(), ...network };
  if (rt.nri.concerns('RunPodSandbox')) {
    // Plugins see a pod that runs, while nobody else sees it yet.
    await allSettled([rt.core.startTask(id), updateSandbox(rt, sandbox, network)]);
    undo.add('tell NRI plugins', () => rt.nri.told('RemovePodSandbox', rt.nri.podEvent('RemovePodSandbox', sandbox)));
    await rt.nri.podEvent('RunPodSandbox', sandbox);
    await updateSandbox(rt, sandbox, started);
  } else {
    await allSettled([rt.core.startTask(id), updateSandbox(rt, sandbox, started)]);
  }
  undo.keep();
  rt.podEvents.sandbox('CONTAINER_CREATED_EVENT', sandbox);
  rt.podEvents.sandbox('CONTAINER_STARTED_EVENT', sandbox);
  return id;
}

/** Of all pods, those that are still being made included. */
function takenLabels(rt: Runtime): SelinuxLabels[] {
  return rt.sandboxes.values().flatMap(({ metadata }) => metadata.selinux ?? []);
}

/** sethostname(2). */
const longestHostname = 64;

const noUser = {
  runAsUser: null,
  runAsGroup: null,
  supplementalGroups: [] as string[],
  supplementalGroupsPolicy: 'Merge' as const,
};

function checkedConfig(config: PodConfig | null): { config: PodConfig; metadata: PodMetadata } {
  const metadata = config?.metadata;
  if (config == null || metadata == null) {
    throw new BerthError('invalid_argument', 'the pod has no config.metadata');
  }
  if (metadata.name === '' || metadata.namespace === '' || metadata.uid === '') {
    throw new BerthError('invalid_argument', "the pod's config.metadata must have a name, a namespace and a uid");
  }
  // A fully qualified name is one, too (the pod's setHostnameAsFQDN).
  const { hostname } = config;
  const refuse = (why: string) =>
    new BerthError('invalid_argument', `pod ${metadata.name}: hostname ${JSON.stringify(hostname)} ${why}`);
  if (hostname.length > longestHostname) {
    throw refuse(`has ${hostname.length} characters: Linux takes ${longestHostname} at most`);
  }
  if (/[^\w.-]/.test(hostname)) throw refuse('has characters that no host name has');
  // Parsed here so that a bad annotation fails before anything is made.
  capabilityArgs(config);
  return { config, metadata };
}
