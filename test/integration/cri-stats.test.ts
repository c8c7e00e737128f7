import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { useCri } from '../support/cri-suite.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
let pod: PodSandboxConfig;
let podSandboxId: string;
let containerId: string;

beforeAll(async () => {
  pod = suite.podConfig({ labels: { app: 'stats' } });
  podSandboxId = await suite.runPod(pod);
  const script =
    'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/big bs=1024 count=64; touch /done; sleep 1000';
  const config = suite.containerConfig('busy', script, { labels: { app: 'busy' } });
  containerId = await suite.start(podSandboxId, pod, config);
});

afterAll(async () => {
  if (podSandboxId !== undefined) await suite.removePod(podSandboxId);
});

const value = (field: { value: string } | null | undefined): number => Number(field?.value ?? -1);

describe('statistics', () => {
  test('of a container have CPU, memory and the writable layer', async () => {
    await waitFor('the file', async () => (await suite.exec(containerId, 'ls', '/')).includes('done'));
    const { stats } = await suite.cri.runtime.containerStats({ containerId });
    expect(stats?.attributes).toMatchObject({ id: containerId, metadata: { name: 'busy' }, labels: { app: 'busy' } });
    expect(value(stats?.cpu?.usageCoreNanoSeconds)).toBeGreaterThan(0);
    expect(value(stats?.cpu?.usageNanoCores)).toBeGreaterThan(0);
    expect(value(stats?.memory?.usageBytes)).toBeGreaterThanOrEqual(value(stats?.memory?.workingSetBytes));
    expect(value(stats?.memory?.workingSetBytes)).toBeGreaterThan(0);
    expect(value(stats?.memory?.pageFaults)).toBeGreaterThan(0);
    expect(value(stats?.writableLayer?.usedBytes)).toBeGreaterThan(0);
    expect(value(stats?.writableLayer?.inodesUsed)).toBeGreaterThan(0);
    expect(stats?.writableLayer?.fsId?.mountpoint).toContain('snapshots');
  });

  test('of a pod hold its processes, its network, and its containers', async () => {
    const { stats } = await suite.cri.runtime.podSandboxStats({ podSandboxId });
    expect(stats?.attributes).toMatchObject({ id: podSandboxId, labels: { app: 'stats' } });
    const linux = stats?.linux;
    expect(value(linux?.process?.processCount)).toBeGreaterThanOrEqual(2);
    expect(value(linux?.cpu?.usageCoreNanoSeconds)).toBeGreaterThanOrEqual(
      value(linux?.containers[0]?.cpu?.usageCoreNanoSeconds) / 2,
    );
    expect(value(linux?.memory?.workingSetBytes)).toBeGreaterThan(0);
    expect(linux?.network?.defaultInterface).toMatchObject({ name: 'eth0', rxErrors: { value: '0' } });
    expect(linux?.containers.map(({ attributes }) => attributes?.id)).toEqual([containerId]);
  });

  test('are listed and streamed, by filter; not found for an unknown id', async () => {
    const { runtime } = suite.cri;
    const ids = async (filter?: object) => {
      const { stats } = await runtime.listContainerStats({ filter: filter ?? null });
      return stats.map(({ attributes }) => attributes?.id);
    };
    expect(await ids()).toEqual([containerId]);
    expect(await ids({ podSandboxId })).toEqual([containerId]);
    expect(await ids({ labelSelector: { app: 'other' } })).toEqual([]);
    const pods = await runtime.listPodSandboxStats({ filter: { id: podSandboxId } });
    expect(pods.stats.map(({ attributes }) => attributes?.id)).toEqual([podSandboxId]);

    const streamed: unknown[] = [];
    for await (const { containerStats } of runtime.streamContainerStats({})) streamed.push(...containerStats);
    for await (const { podSandboxStats } of runtime.streamPodSandboxStats({})) streamed.push(...podSandboxStats);
    expect(streamed).toHaveLength(2);

    await expect(runtime.containerStats({ containerId: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(runtime.podSandboxStats({ podSandboxId: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
  });

  test('have metrics by the names that cAdvisor gave them, each with the labels that its descriptor names', async () => {
    const { runtime } = suite.cri;
    const { descriptors } = await runtime.listMetricDescriptors({});
    const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
    expect(keys.size).toBe(descriptors.length);
    const { podMetrics } = await runtime.listPodSandboxMetrics({});
    const [of] = podMetrics;
    expect(podMetrics.map((each) => each.podSandboxId)).toEqual([podSandboxId]);
    expect(of?.containerMetrics.map((each) => each.containerId)).toEqual([containerId]);
    const metrics = [...(of?.metrics ?? []), ...(of?.containerMetrics[0]?.metrics ?? [])];
    for (const { name, labelValues } of metrics) expect(labelValues, name).toHaveLength(keys.get(name)?.length ?? -1);
    const names = new Set(metrics.map(({ name }) => name));
    for (const name of keys.keys()) {
      // Not every kernel counts these, or has such devices.
      if (/pressure|hugetlb|blkio|_fs_(?:reads|writes)/.test(name)) continue;
      expect(names, name).toContain(name);
    }
    const first = (name: string): number => value(metrics.find((metric) => metric.name === name)?.value);
    expect(first('container_memory_working_set_bytes')).toBeGreaterThan(0);
    expect(first('container_processes')).toBeGreaterThanOrEqual(1);
    expect(first('container_file_descriptors')).toBeGreaterThanOrEqual(3);
    expect(first('container_fs_usage_bytes')).toBeGreaterThan(0);
    expect(first('container_start_time_seconds')).toBeLessThanOrEqual(first('container_last_seen'));
    const streamed: unknown[] = [];
    for await (const { podSandboxMetrics } of runtime.streamPodSandboxMetrics({})) streamed.push(...podSandboxMetrics);
    expect(streamed).toHaveLength(1);
  });
});
