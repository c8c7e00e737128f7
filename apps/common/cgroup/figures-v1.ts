import type { BlkIOEntry } from '#proto/io/containerd/cgroups/v1/BlkIOEntry.ts';
import type { HugetlbStat } from '#proto/io/containerd/cgroups/v1/HugetlbStat.ts';
import type { MemoryEntry } from '#proto/io/containerd/cgroups/v1/MemoryEntry.ts';
import type { Metrics } from '#proto/io/containerd/cgroups/v1/Metrics.ts';
import { names, readSmall } from '../native/index.ts';
import { camelCase, counters, flatKeyed, linesOf } from './kernel-files.ts';

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
export function figuresV1(folders: ReadonlyMap<string, string>): Metrics {
  const part = <T>(controller: string, read: (folder: string) => T): T | undefined => {
    const folder = folders.get(controller);
    return folder === undefined ? undefined : read(folder);
  };
  const usage = part('cpuacct', readCpuUsage);
  const throttling = part('cpu', readThrottling);
  return {
    pids: part('pids', readPids),
    ...(usage === undefined && throttling === undefined ? {} : { cpu: { usage, throttling } }),
    memory: part('memory', readMemory),
    memoryOomControl: part('memory', readOomControl),
    blkio: part('blkio', readBlkio),
    hugetlb: part('hugetlb', readHugetlb),
  };
}

function readPids(folder: string) {
  const [current, limit] = readSmall(folder, ['pids.current', 'pids.max']);
  return { current, limit: limit === 'max' ? '0' : limit };
}

function readCpuUsage(folder: string) {
  const [total, stat, perCpu] = readSmall(folder, ['cpuacct.usage', 'cpuacct.stat', 'cpuacct.usage_percpu']);
  const ticks = flatKeyed(stat);
  const ns = (name: string): string => String(BigInt(ticks.get(name) ?? 0) * NS_PER_TICK);
  return { total, kernel: ns('system'), user: ns('user'), perCpu: perCpu?.split(' ') };
}

function readThrottling(folder: string) {
  const stat = flatKeyed(readSmall(folder, ['cpu.stat'])[0]);
  return {
    periods: stat.get('nr_periods'),
    throttledPeriods: stat.get('nr_throttled'),
    throttledTime: stat.get('throttled_time'),
  };
}

function readMemory(folder: string) {
  const [stat] = readSmall(folder, ['memory.stat']);
  const fields = [...flatKeyed(stat)].map(([name, value]) => [memoryField(name), value]);
  return {
    ...(Object.fromEntries(fields) as object),
    usage: readMemoryEntry(folder, 'memory'),
    swap: readMemoryEntry(folder, 'memory.memsw'),
    kernel: readMemoryEntry(folder, 'memory.kmem'),
    kernelTcp: readMemoryEntry(folder, 'memory.kmem.tcp'),
  };
}

function memoryField(name: string): string {
  const own = name.replace(/^total_/, '');
  return camelCase(name.slice(0, name.length - own.length) + (memoryNames[own] ?? own));
}

/** undefined where the kernel doesn't count that kind of memory. */
function readMemoryEntry(folder: string, kind: string): MemoryEntry | undefined {
  const files = ['limit_in_bytes', 'usage_in_bytes', 'max_usage_in_bytes', 'failcnt'];
  const [limit, usage, max, failcnt] = readSmall(
    folder,
    files.map((file) => `${kind}.${file}`),
  );
  return usage === undefined ? undefined : { limit, usage, max, failcnt };
}

function readOomControl(folder: string) {
  return counters(readSmall(folder, ['memory.oom_control'])[0]);
}

/** The throttling layer sees every request, whatever the device's scheduler is. */
function readBlkio(folder: string) {
  const files = ['blkio.throttle.io_service_bytes_recursive', 'blkio.throttle.io_serviced_recursive'];
  const [bytes, serviced] = readSmall(folder, files);
  const [partitions] = readSmall('/proc', ['partitions']);
  const devices = new Map(
    linesOf(partitions).map((line) => {
      const [major, minor, , name] = line.trim().split(/\s+/);
      return [`${major}:${minor}`, `/dev/${name}`];
    }),
  );
  return {
    ioServiceBytesRecursive: blkioEntries(bytes, devices),
    ioServicedRecursive: blkioEntries(serviced, devices),
  };
}

/** Lines `8:0 Read 4096`; the last is a sum over all devices. */
function blkioEntries(text: string | undefined, devices: ReadonlyMap<string, string>): BlkIOEntry[] {
  return linesOf(text).flatMap((line) => {
    const [, device = '', major, minor, op, value] = /^((\d+):(\d+)) (\w+) (\d+)$/.exec(line) ?? [];
    return op === undefined ? [] : [{ op, device: devices.get(device) ?? '', major, minor, value }];
  });
}

function readHugetlb(folder: string): HugetlbStat[] {
  const sizes = names(folder).flatMap((file) => /^hugetlb\.([^.]+)\.usage_in_bytes$/.exec(file)?.[1] ?? []);
  return sizes.map((pagesize) => {
    const files = ['usage_in_bytes', 'max_usage_in_bytes', 'failcnt'].map((file) => `hugetlb.${pagesize}.${file}`);
    const [usage, max, failcnt] = readSmall(folder, files);
    return { pagesize, usage, max, failcnt };
  });
}
