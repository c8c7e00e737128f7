import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlkIOEntry } from '#proto/io/containerd/cgroups/v1/BlkIOEntry.ts';
import type { HugetlbStat } from '#proto/io/containerd/cgroups/v1/HugetlbStat.ts';
import type { MemoryEntry } from '#proto/io/containerd/cgroups/v1/MemoryEntry.ts';
import type { Metrics } from '#proto/io/containerd/cgroups/v1/Metrics.ts';
import { camelCase, counters, flatKeyed, linesOf, readAllIfThere, readIfThere } from './kernel-files.ts';

/** cpuacct.stat counts in USER_HZ, which is 100 on every architecture that Linux still has containers on. */
const NS_PER_TICK = 10_000_000n;

/** Lines of memory.stat whose names don't say where their words end, or that the message calls otherwise. */
const memoryNames: Readonly<Record<string, string>> = {
  pgpgin: 'pg_pg_in',
  pgpgout: 'pg_pg_out',
  pgfault: 'pg_fault',
  pgmajfault: 'pg_maj_fault',
  hierarchical_memsw_limit: 'hierarchical_swap_limit',
};

/** The figures of a cgroup v1; parts whose controller the container isn't in are absent. */
export async function readV1(folders: ReadonlyMap<string, string>): Promise<Metrics> {
  const part = async <T>(controller: string, read: (folder: string) => Promise<T>): Promise<T | undefined> => {
    const folder = folders.get(controller);
    return folder === undefined ? undefined : await read(folder);
  };
  const [pids, usage, throttling, memory, memoryOomControl, blkio, hugetlb] = await Promise.all([
    part('pids', readPids),
    part('cpuacct', readCpuUsage),
    part('cpu', readThrottling),
    part('memory', readMemory),
    part('memory', readOomControl),
    part('blkio', readBlkio),
    part('hugetlb', readHugetlb),
  ]);
  return {
    pids,
    ...(usage === undefined && throttling === undefined ? {} : { cpu: { usage, throttling } }),
    memory,
    memoryOomControl,
    blkio,
    hugetlb,
  };
}

async function readPids(folder: string) {
  const [current, limit] = await readAllIfThere(folder, ['pids.current', 'pids.max']);
  return { current, limit: limit === 'max' ? '0' : limit };
}

async function readCpuUsage(folder: string) {
  const [total, stat, perCpu] = await readAllIfThere(folder, ['cpuacct.usage', 'cpuacct.stat', 'cpuacct.usage_percpu']);
  const ticks = flatKeyed(stat);
  const ns = (name: string): string => String(BigInt(ticks.get(name) ?? 0) * NS_PER_TICK);
  return { total, kernel: ns('system'), user: ns('user'), perCpu: perCpu?.split(' ') };
}

async function readThrottling(folder: string) {
  const stat = flatKeyed(await readIfThere(join(folder, 'cpu.stat')));
  return {
    periods: stat.get('nr_periods'),
    throttledPeriods: stat.get('nr_throttled'),
    throttledTime: stat.get('throttled_time'),
  };
}

async function readMemory(folder: string) {
  const [stat, usage, swap, kernel, kernelTcp] = await Promise.all([
    readIfThere(join(folder, 'memory.stat')),
    readMemoryEntry(folder, 'memory'),
    readMemoryEntry(folder, 'memory.memsw'),
    readMemoryEntry(folder, 'memory.kmem'),
    readMemoryEntry(folder, 'memory.kmem.tcp'),
  ]);
  const fields = [...flatKeyed(stat)].map(([name, value]) => [memoryField(name), value]);
  return { ...(Object.fromEntries(fields) as object), usage, swap, kernel, kernelTcp };
}

function memoryField(name: string): string {
  const own = name.replace(/^total_/, '');
  return camelCase(name.slice(0, name.length - own.length) + (memoryNames[own] ?? own));
}

/** undefined where the kernel doesn't count that kind of memory. */
async function readMemoryEntry(folder: string, kind: string): Promise<MemoryEntry | undefined> {
  const files = ['limit_in_bytes', 'usage_in_bytes', 'max_usage_in_bytes', 'failcnt'];
  const [limit, usage, max, failcnt] = await readAllIfThere(
    folder,
    files.map((file) => `${kind}.${file}`),
  );
  return usage === undefined ? undefined : { limit, usage, max, failcnt };
}

async function readOomControl(folder: string) {
  return counters(await readIfThere(join(folder, 'memory.oom_control')));
}

/** The throttling layer sees every request, whatever the device's scheduler is. */
async function readBlkio(folder: string) {
  const [bytes, serviced, partitions] = await Promise.all([
    readIfThere(join(folder, 'blkio.throttle.io_service_bytes_recursive')),
    readIfThere(join(folder, 'blkio.throttle.io_serviced_recursive')),
    readIfThere('/proc/partitions'),
  ]);
  const names = new Map(
    linesOf(partitions).map((line) => {
      const [major, minor, , name] = line.trim().split(/\s+/);
      return [`${major}:${minor}`, `/dev/${name}`];
    }),
  );
  return { ioServiceBytesRecursive: blkioEntries(bytes, names), ioServicedRecursive: blkioEntries(serviced, names) };
}

/** Lines `8:0 Read 4096`; the last is a sum over all devices. */
function blkioEntries(text: string | undefined, names: ReadonlyMap<string, string>): BlkIOEntry[] {
  return linesOf(text).flatMap((line) => {
    const [, device = '', major, minor, op, value] = /^((\d+):(\d+)) (\w+) (\d+)$/.exec(line) ?? [];
    return op === undefined ? [] : [{ op, device: names.get(device) ?? '', major, minor, value }];
  });
}

async function readHugetlb(folder: string): Promise<HugetlbStat[]> {
  const files = await readdir(folder);
  const sizes = files.flatMap((file) => /^hugetlb\.([^.]+)\.usage_in_bytes$/.exec(file)?.[1] ?? []);
  return await Promise.all(
    sizes.map(async (pagesize) => {
      const names = ['usage_in_bytes', 'max_usage_in_bytes', 'failcnt'].map((file) => `hugetlb.${pagesize}.${file}`);
      const [usage, max, failcnt] = await readAllIfThere(folder, names);
      return { pagesize, usage, max, failcnt };
    }),
  );
}
