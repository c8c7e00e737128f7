import { figuresV1 } from '#common/cgroup/figures-v1.ts';
import { figuresV2 } from '#common/cgroup/figures-v2.ts';
import type { CgroupFolders } from '#common/cgroup/folders.ts';
import type { BlkIOEntry } from '#proto/io/containerd/cgroups/v1/BlkIOEntry.ts';

type Field = { toString(): string } | null | undefined;

/** Requests to a block device. */
export interface DeviceUsage {
  readonly device: string;
  readonly major: string;
  readonly minor: string;
  readonly readBytes: bigint;
  readonly writeBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** Microseconds that some, or all, tasks waited. */
export interface Waited {
  readonly some: bigint;
  readonly full: bigint;
}

/** What a container's cgroup has used up to now, whichever version it is of. undefined: not counted here. */
export interface ContainerFigures {
  /** Nanoseconds. */
  readonly cpu: { readonly total: bigint; readonly user: bigint; readonly system: bigint };
  readonly throttling: { readonly periods: bigint; readonly throttled: bigint; readonly ns: bigint };
  /** Bytes, and counts of faults. */
  readonly memory: {
    readonly usage: bigint;
    readonly maxUsage: bigint;
    readonly workingSet: bigint;
    readonly cache: bigint;
    readonly rss: bigint;
    readonly kernel: bigint;
    readonly mappedFile: bigint;
    readonly swap: bigint;
    readonly failures: bigint;
    readonly pageFaults: bigint;
    readonly majorPageFaults: bigint;
  };
  readonly oomKills: bigint;
  readonly threads: bigint;
  /** 0 for no limit. */
  readonly threadsMax: bigint;
  readonly devices: readonly DeviceUsage[];
  readonly hugePages: readonly { readonly size: string; readonly usage: bigint; readonly maxUsage: bigint }[];
  readonly pressure: { readonly cpu?: Waited; readonly memory?: Waited; readonly io?: Waited };
}

export function containerFigures(cgroup: CgroupFolders): ContainerFigures {
  return cgroup.version === 1 ? ofV1(cgroup.folders) : ofV2(cgroup.folder);
}

function ofV1(folders: ReadonlyMap<string, string>): ContainerFigures {
  const { cpu, memory, memoryOomControl, pids, blkio, hugetlb } = figuresV1(folders);
  const usage = count(memory?.usage?.usage);
  const devices = new Map<string, DeviceUsage>();
  const add = (entries: readonly BlkIOEntry[] | undefined, unit: 'bytes' | 'ops') => {
    for (const { op, device = '', major, minor, value } of entries ?? []) {
      const key = `${major}:${minor}`;
      const known = devices.get(key) ?? noUsage(device, String(major), String(minor));
      const isBytes = unit === 'bytes';
      if (op === 'Read') devices.set(key, { ...known, [isBytes ? 'readBytes' : 'reads']: count(value) });
      if (op === 'Write') devices.set(key, { ...known, [isBytes ? 'writeBytes' : 'writes']: count(value) });
    }
  };
  add(blkio?.ioServiceBytesRecursive, 'bytes');
  add(blkio?.ioServicedRecursive, 'ops');
  return {
    cpu: { total: count(cpu?.usage?.total), user: count(cpu?.usage?.user), system: count(cpu?.usage?.kernel) },
    throttling: {
      periods: count(cpu?.throttling?.periods),
      throttled: count(cpu?.throttling?.throttledPeriods),
      ns: count(cpu?.throttling?.throttledTime),
    },
    memory: {
      usage,
      maxUsage: count(memory?.usage?.max),
      workingSet: less(usage, count(memory?.totalInactiveFile)),
      cache: count(memory?.totalCache),
      rss: count(memory?.totalRss),
      kernel: count(memory?.kernel?.usage),
      mappedFile: count(memory?.totalMappedFile),
      swap: less(count(memory?.swap?.usage), usage),
      failures: count(memory?.usage?.failcnt),
      pageFaults: count(memory?.totalPgFault),
      majorPageFaults: count(memory?.totalPgMajFault),
    },
    oomKills: count(memoryOomControl?.oomKill),
    threads: count(pids?.current),
    threadsMax: count(pids?.limit),
    devices: [...devices.values()],
    hugePages: (hugetlb ?? []).map(({ pagesize = '', usage, max }) => ({
      size: pagesize,
      usage: count(usage),
      maxUsage: count(max),
    })),
    pressure: {},
  };
}

function ofV2(folder: string): ContainerFigures {
  const { cpu, memory, memoryEvents, pids, io, hugetlb } = figuresV2(folder);
  const usage = count(memory?.usage);
  const limit = count(pids?.limit);
  return {
    cpu: {
      total: count(cpu?.usageUsec) * 1000n,
      user: count(cpu?.userUsec) * 1000n,
      system: count(cpu?.systemUsec) * 1000n,
    },
    throttling: {
      periods: count(cpu?.nrPeriods),
      throttled: count(cpu?.nrThrottled),
      ns: count(cpu?.throttledUsec) * 1000n,
    },
    memory: {
      usage,
      maxUsage: count(memory?.maxUsage),
      workingSet: less(usage, count(memory?.inactiveFile)),
      cache: count(memory?.file),
      rss: count(memory?.anon),
      kernel: count(memory?.kernelStack) + count(memory?.slab),
      mappedFile: count(memory?.fileMapped),
      swap: count(memory?.swapUsage),
      failures: count(memoryEvents?.max),
      pageFaults: count(memory?.pgfault),
      majorPageFaults: count(memory?.pgmajfault),
    },
    oomKills: count(memoryEvents?.oomKill),
    threads: count(pids?.current),
    threadsMax: limit >= 2n ** 63n ? 0n : limit,
    devices: (io?.usage ?? []).map(({ major, minor, rbytes, wbytes, rios, wios }) => ({
      ...noUsage('', String(major), String(minor)),
      readBytes: count(rbytes),
      writeBytes: count(wbytes),
      reads: count(rios),
      writes: count(wios),
    })),
    hugePages: (hugetlb ?? []).map(({ pagesize = '', current }) => ({
      size: pagesize,
      usage: count(current),
      // The kernel doesn't keep the largest here.
      maxUsage: count(current),
    })),
    pressure: {
      ...(cpu?.psi ? { cpu: waited(cpu.psi) } : {}),
      ...(memory?.psi ? { memory: waited(memory.psi) } : {}),
      ...(io?.psi ? { io: waited(io.psi) } : {}),
    },
  };
}

function waited(psi: { some?: { total?: Field } | null; full?: { total?: Field } | null }): Waited {
  return { some: count(psi.some?.total), full: count(psi.full?.total) };
}

function noUsage(device: string, major: string, minor: string): DeviceUsage {
  return { device, major, minor, readBytes: 0n, writeBytes: 0n, reads: 0n, writes: 0n };
}

function less(from: bigint, part: bigint): bigint {
  return from > part ? from - part : 0n;
}

function count(field: Field): bigint {
  return BigInt((field ?? 0).toString());
}
