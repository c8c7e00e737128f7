import { type CgroupFolders, cgroupFoldersOf } from '#common/cgroup/folders.ts';
import { folderOf } from '#common/native/files.ts';
import type { ContainerStats } from '#proto/runtime/v1/ContainerStats.ts';
import type { FilesystemUsage } from '#proto/runtime/v1/FilesystemUsage.ts';
import type { NetworkInterfaceUsage } from '#proto/runtime/v1/NetworkInterfaceUsage.ts';
import type { PodSandboxStats } from '#proto/runtime/v1/PodSandboxStats.ts';
import { podInterface } from '../cni/network.ts';
import type { Container } from '../store/container.ts';
import type { Sandbox } from '../store/sandbox.ts';
import { CgroupFiles } from './cgroup-files.ts';
import { type CgroupSample, sampleOf } from './cgroup-sample.ts';
import { CpuRates } from './cpu-rates.ts';
import { type Usage, uint64, usageOf } from './messages.ts';
import { type InterfaceCounters, interfacesOf } from './pod-interfaces.ts';
import { WritableLayers } from './writable-layers.ts';

export interface StatsOptions {
  /** Space on disk and inodes of a container's writable layer. */
  readonly layerUsage: (id: string) => Promise<{ size: string; inodes: string }>;
  /** The folder that the snapshotter keeps layers in. */
  readonly layersRoot: () => Promise<string>;
}

/** What pods and containers use: read from cgroupfs as it is asked for, without waking any shim. */
export class Stats {
  readonly #findLayersRoot: () => Promise<string>;
  #layersRoot: string | undefined;
  readonly #layers: WritableLayers;
  readonly #rates = new CpuRates();
  readonly #files = new CgroupFiles();
  /** The kernel's folders of what runs; they don't change while it does. */
  readonly #folders = new WeakMap<Container | Sandbox, { readonly pid: number; readonly cgroup: CgroupFolders }>();

  constructor(options: StatsOptions) {
    this.#findLayersRoot = options.layersRoot;
    this.#layers = new WritableLayers(options.layerUsage);
  }

  /** A container that doesn't run has nothing but attributes and its writable layer. */
  async ofContainer(container: Container): Promise<ContainerStats> {
    const { metadata } = container;
    const { labels, annotations } = metadata.config;
    const started = BigInt(container.status.startedAt ?? metadata.createdAt);
    return {
      attributes: { id: container.id, metadata: metadata.config.metadata, labels, annotations },
      writableLayer: await this.writableLayer(container),
      ...this.#usage(container, this.cgroupOf(container), started).usage,
    };
  }

  /**
   * @param containers those of the pod, to be told of with it
   */
  async ofSandbox(sandbox: Sandbox, containers: readonly Container[]): Promise<PodSandboxStats> {
    const { metadata, pid } = sandbox;
    const { config } = metadata;
    const own = this.cgroupOf(sandbox);
    // The pod's cgroup is the one above its pause container's, unless the pod has none.
    const cgroup = own === undefined || (config.linux?.cgroupParent ?? '') === '' ? own : parentOf(own);
    const { sample, usage } = this.#usage(sandbox, cgroup, BigInt(metadata.createdAt));
    const { cpu, memory, io } = usage;
    const timestamp = sample?.at.toString() ?? '0';
    const interfaces = pid === 0 || sandbox.sharing.hostNetwork ? [] : interfacesOf(pid);
    const main = interfaces.find(({ name }) => name === podInterface);
    const others = interfaces.filter((each) => each !== main);
    return {
      attributes: {
        id: sandbox.id,
        metadata: config.metadata,
        labels: config.labels,
        annotations: config.annotations,
      },
      linux: {
        cpu,
        memory,
        io,
        network:
          interfaces.length === 0
            ? null
            : {
                timestamp,
                defaultInterface: main === undefined ? null : interfaceUsage(main),
                interfaces: others.map(interfaceUsage),
              },
        process: sample?.processes === undefined ? null : { timestamp, processCount: uint64(sample.processes) },
        containers: await Promise.all(containers.map((container) => this.ofContainer(container))),
      },
    };
  }

  /** The kernel's folders of a container or pod that runs. */
  cgroupOf(item: Container | Sandbox): CgroupFolders | undefined {
    const { pid } = item;
    if (pid === 0) return undefined;
    const known = this.#folders.get(item);
    if (known?.pid === pid) return known.cgroup;
    const cgroup = cgroupFoldersOf(pid);
    if (cgroup !== undefined) this.#folders.set(item, { pid, cgroup });
    return cgroup;
  }

  /** Null while it hasn't been counted. */
  async writableLayer(container: Container): Promise<FilesystemUsage | null> {
    const counted = await this.#layers.usage(container);
    if (counted === undefined) return null;
    this.#layersRoot ??= await this.#findLayersRoot();
    return {
      timestamp: counted.at.toString(),
      fsId: { mountpoint: this.#layersRoot },
      usedBytes: { value: counted.bytes },
      inodesUsed: { value: counted.inodes },
    };
  }

  #usage(
    item: Container | Sandbox,
    cgroup: CgroupFolders | undefined,
    started: bigint,
  ): { sample?: CgroupSample; usage: Usage } {
    if (cgroup === undefined) return { usage: { cpu: null, memory: null, swap: null, io: null } };
    const sample = sampleOf(cgroup, this.#files);
    const rate = this.#rates.rate(item, { at: sample.at, used: sample.cpuNs ?? 0n }, started);
    return { sample, usage: usageOf(sample, rate) };
  }
}

function parentOf(cgroup: CgroupFolders): CgroupFolders {
  if (cgroup.version === 2) return { version: 2, folder: folderOf(cgroup.folder) };
  const folders = [...cgroup.folders].map(([controller, folder]) => [controller, folderOf(folder)] as const);
  return { version: 1, folders: new Map(folders) };
}

function interfaceUsage(counters: InterfaceCounters): NetworkInterfaceUsage {
  const { name, rxBytes, rxErrors, txBytes, txErrors } = counters;
  const [rx, rxBad, tx, txBad] = [rxBytes, rxErrors, txBytes, txErrors].map((value) => ({ value }));
  return { name, rxBytes: rx, rxErrors: rxBad, txBytes: tx, txErrors: txBad };
}
