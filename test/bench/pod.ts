import { mkdirSync } from 'node:fs';
import type { ContainerConfig } from '#proto/runtime/v1/ContainerConfig.ts';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import type { BenchRuntime } from './runtime.ts';

export interface PodTimes {
  readonly sandbox: number;
  readonly create: number;
  readonly start: number;
}

export interface StartedPod {
  readonly sandboxId: string;
  readonly containerId: string;
  readonly times: PodTimes;
}

/** Named, because runtimes differ in what they do without; building the filter costs runc more than all the rest. */
const seccomp = { profileType: 'RuntimeDefault', localhostRef: '' } as const;

/** A pod with one container, as a kubelet asks for it; times in milliseconds. */
export async function startPod(
  runtime: BenchRuntime,
  dir: string,
  name: string,
  container: Pick<ContainerConfig, 'command' | 'mounts'> = { command: ['sleep', '3600'] },
): Promise<StartedPod> {
  const { cri, cpu, image } = runtime;
  const config: PodSandboxConfig = {
    metadata: { name, uid: `uid-${name}`, namespace: 'bench', attempt: 0 },
    hostname: name,
    logDirectory: `${dir}/pods/${name}`,
    dnsConfig: { servers: ['192.0.2.1'], searches: ['cluster.local'], options: ['ndots:5'] },
    labels: { app: 'bench' },
    linux: {
      cgroupParent: `${cpu.path}/pods/${name}`,
      securityContext: { namespaceOptions: { pid: 'CONTAINER' }, seccomp },
    },
  };
  // The kubelet's part.
  mkdirSync(`${config.logDirectory}/main`, { recursive: true });
  const begin = performance.now();
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config });
  const sandboxed = performance.now();
  const { containerId } = await cri.runtime.createContainer({
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image },
      ...container,
      envs: [{ key: 'KEY', value: Buffer.from('value') }],
      logPath: 'main/0.log',
      linux: {
        resources: { cpuShares: 512, memoryLimitInBytes: 64 * 1024 * 1024, oomScoreAdj: 900 },
        securityContext: { seccomp },
      },
    },
  });
  const created = performance.now();
  await cri.runtime.startContainer({ containerId });
  const started = performance.now();
  const times = { sandbox: sandboxed - begin, create: created - sandboxed, start: started - created };
  return { sandboxId: podSandboxId, containerId, times };
}

/** Returns the milliseconds it took. */
export async function removePod({ cri }: BenchRuntime, { sandboxId }: StartedPod): Promise<number> {
  const begin = performance.now();
  await cri.runtime.stopPodSandbox({ podSandboxId: sandboxId });
  await cri.runtime.removePodSandbox({ podSandboxId: sandboxId });
  return performance.now() - begin;
}
