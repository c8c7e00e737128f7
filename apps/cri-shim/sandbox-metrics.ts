import { statfs } from 'node:fs/promises';
import { nowNs } from '#common/timestamp.ts';
import type { ContainerMetrics } from '#proto/runtime/v1/ContainerMetrics.ts';
import type { Metric } from '#proto/runtime/v1/Metric.ts';
import type { MetricDescriptor } from '#proto/runtime/v1/MetricDescriptor.ts';
import type { PodSandboxMetrics } from '#proto/runtime/v1/PodSandboxMetrics.ts';
import { containerFigures } from './metrics/container-figures.ts';
import { type ContainerReading, containerFamilies, networkFamilies } from './metrics/families.ts';
import { openFilesLimit, processFigures } from './metrics/processes.ts';
import { runningByPod } from './running-containers.ts';
import type { Runtime } from './runtime.ts';
import { interfacesOf } from './stats/pod-interfaces.ts';
import type { Container } from './store/container.ts';
import type { Sandbox } from './store/sandbox.ts';

/** What all metrics are told apart by. */
const baseLabels = ['id', 'image', 'namespace', 'pod', 'container'];
const networkLabels = ['interface'];
const NS = 1_000_000_000n;

/** ListMetricDescriptors: what ListPodSandboxMetrics may have, with the keys of its label values in their order. */
export function metricDescriptors(): MetricDescriptor[] {
  const own = containerFamilies.map(({ name, help, labels }) => ({
    name,
    help,
    labelKeys: [...baseLabels, ...labels],
  }));
  const network = networkFamilies.map(({ name, help }) => ({
    name,
    help,
    labelKeys: [...baseLabels, ...networkLabels],
  }));
  return [...own, ...network];
}

/** ListPodSandboxMetrics: of pods that are ready and containers that run. */
export async function listSandboxMetrics(rt: Runtime): Promise<PodSandboxMetrics[]> {
  const running = runningByPod(rt);
  const pods = rt.sandboxes.values().filter(({ ready }) => ready);
  return await Promise.all(pods.map((sandbox) => metricsOf(rt, sandbox, running.get(sandbox.id) ?? [])));
}

async function metricsOf(rt: Runtime, sandbox: Sandbox, containers: readonly Container[]): Promise<PodSandboxMetrics> {
  const metrics = await Promise.all(containers.map((container) => containerMetrics(rt, sandbox, container)));
  return {
    podSandboxId: sandbox.id,
    metrics: networkMetrics(rt, sandbox),
    containerMetrics: metrics.filter((each) => each !== undefined),
  };
}

function networkMetrics(rt: Runtime, sandbox: Sandbox): Metric[] {
  if (sandbox.pid === 0 || sandbox.sharing.hostNetwork) return [];
  const timestamp = nowNs().toString();
  const labels = labelsOf(sandbox, sandbox.id, rt.config.sandboxImage, '');
  return interfacesOf(sandbox.pid).flatMap((counters) =>
    networkFamilies.map(({ name, column }) => ({
      name,
      timestamp,
      metricType: 'COUNTER' as const,
      labelValues: [...labels, counters.name],
      value: { value: counters[column] },
    })),
  );
}

/** undefined for a container that has just ended. */
async function containerMetrics(
  rt: Runtime,
  sandbox: Sandbox,
  container: Container,
): Promise<ContainerMetrics | undefined> {
  const reading = await readingOf(rt, container);
  if (reading === undefined) return undefined;
  const timestamp = nowNs().toString();
  const { metadata } = container;
  const labels = labelsOf(sandbox, container.id, metadata.imageName, metadata.config.metadata?.name ?? '');
  const metrics = containerFamilies.flatMap(({ name, type, read }) =>
    read(reading).map(({ labels: own, value }) => ({
      name,
      timestamp,
      metricType: type,
      labelValues: [...labels, ...own],
      value: { value: value.toString() },
    })),
  );
  return { containerId: container.id, metrics };
}

async function readingOf(rt: Runtime, container: Container): Promise<ContainerReading | undefined> {
  const layer = await rt.stats.writableLayer(container);
  const cgroup = rt.stats.cgroupOf(container);
  if (cgroup === undefined) return undefined;
  const root = layer?.fsId?.mountpoint;
  const space = root === undefined ? undefined : await statfs(root, { bigint: true });
  const { status, metadata, pid } = container;
  return {
    ...containerFigures(cgroup),
    ...processFigures(cgroup),
    resources: status.resources ?? metadata.config.linux?.resources ?? undefined,
    startedAt: BigInt(status.startedAt ?? 0) / NS,
    now: nowNs() / NS,
    openFilesLimit: openFilesLimit(pid),
    layer: {
      bytes: BigInt(layer?.usedBytes?.value?.toString() ?? 0),
      limit: space === undefined ? 0n : space.blocks * space.bsize,
      inodes: space?.files ?? 0n,
      inodesFree: space?.ffree ?? 0n,
    },
  };
}

function labelsOf(sandbox: Sandbox, id: string, image: string, container: string): string[] {
  const { metadata } = sandbox.metadata.config;
  return [id, image, metadata?.namespace ?? '', metadata?.name ?? '', container];
}
