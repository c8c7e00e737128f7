import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerConfig } from '#proto/runtime/v1/ContainerConfig.ts';
import { type Berth, startBerth } from '../support/berth.ts';
import { removeBridge } from '../support/bridge.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { removeCgroups } from '../support/cgroups.ts';
import { importImage } from '../support/client-route.ts';
import type { CriClients } from '../support/cri-clients.ts';
import { busybox, freeNetwork, patient } from '../support/cri-suite.ts';
import type { LeakScope } from '../support/leaks.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { suitCrun } from '../support/suit-crun.ts';
import { waitFor } from '../support/wait-for.ts';

/** Both daemons, for pods that come and go. */
export interface SoakBed extends AsyncDisposable {
  readonly berth: Berth;
  readonly cri: CriClients;
  readonly scope: LeakScope;
  /** A pod with a container that exits with a code of its own, from creation to removal. @throws what a call answers */
  onePod(): Promise<void>;
  removeAll(): Promise<void>;
  /** A pod with one container, left running. */
  start(name: string, container: Pick<ContainerConfig, 'command' | 'mounts'>): Promise<StandingPod>;
}

export interface StandingPod {
  readonly podSandboxId: string;
  readonly containerId: string;
  /** The container's. */
  readonly log: string;
}

/** `handler` is the pods' runtime handler. */
export async function soakBed(handler = ''): Promise<SoakBed> {
  await using stack = new AsyncDisposableStack();
  const dir = scratchDir();
  const cgroup = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
  stack.defer(() => removeScratch(dir));
  if (handler === 'crun') stack.defer(suitCrun(dir));
  stack.defer(() => removeCgroups(cgroup));
  const settings = handler === '' ? {} : { runtimes: { [handler]: { binary: handler } } };
  const berth = await startBerth({ dir, network: freeNetwork(), settings, logLevel: 'warn' });
  stack.defer(() => removeBridge(berth.network));
  stack.defer(() => berth.stop());
  const cri = stack.use(berth.clients());
  const { runtime, image } = cri;
  {
    using core = berth.berthd.clients('k8s.io');
    await importImage(core, busyboxImage(), busybox);
  }
  await waitFor('the image to be known', async () => {
    return (await image.imageStatus({ image: { image: busybox } })).image !== null;
  });
  let pods = 0;
  const remove = async (podSandboxId: string): Promise<void> => {
    await runtime.stopPodSandbox({ podSandboxId }, patient);
    await runtime.removePodSandbox({ podSandboxId }, patient);
  };
  const onePod = async (): Promise<void> => {
    pods += 1;
    const name = `pod-${pods}`;
    const code = pods % 100;
    const logDirectory = join(dir, 'pod-logs', name);
    mkdirSync(logDirectory, { recursive: true });
    const config = {
      metadata: { name, uid: name, namespace: 'soak', attempt: 0 },
      hostname: name,
      logDirectory,
      linux: { cgroupParent: `/${cgroup}`, securityContext: {} },
    };
    const { podSandboxId } = await runtime.runPodSandbox({ config, runtimeHandler: handler }, patient);
    const container = {
      metadata: { name: 'c', attempt: 0 },
      image: { image: busybox },
      command: ['sh', '-c', `exit ${code}`],
      linux: { securityContext: {} },
    };
    const request = { podSandboxId, config: container, sandboxConfig: config };
    const { containerId } = await runtime.createContainer(request, patient);
    await runtime.startContainer({ containerId }, patient);
    const exitCode = await waitFor(
      `container of ${name} to exit`,
      async () => {
        const { status } = await runtime.containerStatus({ containerId }, patient);
        return status?.state === 'CONTAINER_EXITED' && { code: status.exitCode };
      },
      60_000,
    );
    if (exitCode.code !== code) throw new Error(`${name}: exit code ${exitCode.code} in place of ${code}`);
    await remove(podSandboxId);
  };
  const start: SoakBed['start'] = async (name, fields) => {
    const logDirectory = join(dir, 'pod-logs', name);
    mkdirSync(logDirectory, { recursive: true });
    const sandboxConfig = {
      metadata: { name, uid: name, namespace: 'soak', attempt: 0 },
      hostname: name,
      logDirectory,
      linux: { cgroupParent: `/${cgroup}`, securityContext: {} },
    };
    const { podSandboxId } = await runtime.runPodSandbox({ config: sandboxConfig, runtimeHandler: handler }, patient);
    const config = {
      metadata: { name: 'c', attempt: 0 },
      image: { image: busybox },
      logPath: 'c.log',
      linux: { securityContext: {} },
      ...fields,
    };
    const { containerId } = await runtime.createContainer({ podSandboxId, config, sandboxConfig }, patient);
    await runtime.startContainer({ containerId }, patient);
    return { podSandboxId, containerId, log: join(logDirectory, 'c.log') };
  };
  const removeAll = async (): Promise<void> => {
    for (const { id } of (await runtime.listPodSandbox({}, patient)).items) await remove(id);
    const { containers } = await runtime.listContainers({}, patient);
    if (containers.length > 0)
      throw new Error(`containers without a pod: ${containers.map(({ id }) => id).join(', ')}`);
  };
  // After a failure there are pods, which would hold what is removed next.
  stack.defer(() => removeAll().catch(() => undefined));
  const running = stack.move();
  return {
    berth,
    cri,
    scope: { dir, names: [cgroup], bridges: [berth.network.bridge] },
    onePod,
    start,
    removeAll,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface Size {
  readonly kib: number;
  readonly fds: number;
}

export interface DaemonSizes {
  readonly berthd: Size;
  readonly cri: Size;
}

/** Memory of their own and descriptors of both daemons. */
export function daemonSize({ berth }: SoakBed): DaemonSizes {
  const size = (pid: number): Size => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const kib = Number(/^Private_Dirty: +(\d+) kB$/m.exec(text)?.[1]);
    return { kib, fds: readdirSync(`/proc/${pid}/fd`).length };
  };
  return { berthd: size(berth.berthd.daemon.pid), cri: size(berth.cri.pid) };
}
