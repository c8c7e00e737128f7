import type { ContainerResources } from '../cri-types.ts';
import type { ContainerFigures, DeviceUsage, Waited } from './container-figures.ts';
import type { ProcessFigures } from './processes.ts';

/** All that is known of a running container at one moment. */
export interface ContainerReading extends ContainerFigures, ProcessFigures {
  readonly resources: ContainerResources | undefined;
  /** Seconds since the epoch. */
  readonly startedAt: bigint;
  readonly now: bigint;
  readonly openFilesLimit: bigint | undefined;
  /** Bytes of the writable layer, and what is left on the file system that it is on. */
  readonly layer: {
    readonly bytes: bigint;
    readonly limit: bigint;
    readonly inodes: bigint;
    readonly inodesFree: bigint;
  };
}

/** A value with those of the family's own labels. */
export interface Value {
  readonly labels: readonly string[];
  readonly value: bigint;
}

/** One of cAdvisor's metrics, by the name that dashboards know it by. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'COUNTER' | 'GAUGE';
  /** Behind those that all families have. */
  readonly labels: readonly string[];
  readonly read: (reading: ContainerReading) => readonly Value[];
}

const NS = 1_000_000_000n;
const US = 1_000_000n;

export const containerFamilies: readonly Family[] = [
  counter('container_cpu_usage_seconds_total', 'CPU time used, in seconds.', ['cpu'], ({ cpu }) => [
    { labels: ['total'], value: cpu.total / NS },
  ]),
  counter('container_cpu_user_seconds_total', 'CPU time used in user mode, in seconds.', ({ cpu }) => cpu.user / NS),
  counter(
    'container_cpu_system_seconds_total',
    'CPU time used in the kernel, in seconds.',
    ({ cpu }) => cpu.system / NS,
  ),
  counter(
    'container_cpu_cfs_periods_total',
    'Periods of CPU bandwidth control.',
    ({ throttling }) => throttling.periods,
  ),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods of CPU bandwidth control in which the container was throttled.',
    ({ throttling }) => throttling.throttled,
  ),
  counter(
    'container_cpu_cfs_throttled_seconds_total',
    'Time for which the container was throttled, in seconds.',
    ({ throttling }) => throttling.ns / NS,
  ),
  gauge('container_memory_usage_bytes', 'Memory in use, caches included.', ({ memory }) => memory.usage),
  gauge('container_memory_max_usage_bytes', 'Most memory that was in use.', ({ memory }) => memory.maxUsage),
  gauge(
    'container_memory_working_set_bytes',
    'Memory without caches unused of late.',
    ({ memory }) => memory.workingSet,
  ),
  gauge('container_memory_cache', 'Page cache, in bytes.', ({ memory }) => memory.cache),
  gauge('container_memory_rss', 'Anonymous memory, in bytes.', ({ memory }) => memory.rss),
  gauge('container_memory_kernel_usage', "The kernel's memory, in bytes.", ({ memory }) => memory.kernel),
  gauge('container_memory_mapped_file', 'Mapped files, in bytes.', ({ memory }) => memory.mappedFile),
  gauge('container_memory_swap', 'Swap in use, in bytes.', ({ memory }) => memory.swap),
  counter('container_memory_failcnt', 'How often the memory limit was met.', ({ memory }) => memory.failures),
  counter('container_memory_failures_total', 'Page faults.', ['failure_type', 'scope'], ({ memory }) =>
    ['container', 'hierarchy'].flatMap((scope) => [
      { labels: ['pgfault', scope], value: memory.pageFaults },
      { labels: ['pgmajfault', scope], value: memory.majorPageFaults },
    ]),
  ),
  counter('container_oom_events_total', 'Processes that ended for lack of memory.', ({ oomKills }) => oomKills),
  gauge('container_hugetlb_usage_bytes', 'Huge pages in use, in bytes.', ['pagesize'], ({ hugePages }) =>
    hugePages.map(({ size, usage }) => ({ labels: [size], value: usage })),
  ),
  gauge('container_hugetlb_max_usage_bytes', 'Most huge pages in use, in bytes.', ['pagesize'], ({ hugePages }) =>
    hugePages.map(({ size, maxUsage }) => ({ labels: [size], value: maxUsage })),
  ),
  gauge('container_fs_usage_bytes', 'Space that the writable layer takes.', ({ layer }) => layer.bytes),
  gauge('container_fs_limit_bytes', 'Size of the file system that has the writable layer.', ({ layer }) => layer.limit),
  gauge('container_fs_inodes_total', 'Inodes of that file system.', ({ layer }) => layer.inodes),
  gauge('container_fs_inodes_free', 'Free inodes of that file system.', ({ layer }) => layer.inodesFree),
  perDevice('container_fs_reads_bytes_total', 'Bytes read from a device.', ({ readBytes }) => readBytes),
  perDevice('container_fs_reads_total', 'Reads from a device.', ({ reads }) => reads),
  perDevice('container_fs_writes_bytes_total', 'Bytes written to a device.', ({ writeBytes }) => writeBytes),
  perDevice('container_fs_writes_total', 'Writes to a device.', ({ writes }) => writes),
  counter(
    'container_blkio_device_usage_total',
    'Bytes read from and written to a device.',
    ['device', 'major', 'minor', 'operation'],
    ({ devices }) =>
      devices.flatMap(({ device, major, minor, readBytes, writeBytes }) => [
        { labels: [device, major, minor, 'Read'], value: readBytes },
        { labels: [device, major, minor, 'Write'], value: writeBytes },
      ]),
  ),
  gauge('container_processes', 'Processes.', ({ processes }) => processes),
  gauge('container_threads', 'Threads.', ({ threads }) => threads),
  gauge('container_threads_max', 'How many threads there may be; 0 for any number.', ({ threadsMax }) => threadsMax),
  gauge('container_file_descriptors', 'Open file descriptors.', ({ descriptors }) => descriptors),
  gauge('container_sockets', 'Open sockets.', ({ sockets }) => sockets),
  gauge('container_ulimits_soft', "Soft limits of the container's first process.", ['ulimit'], (reading) =>
    reading.openFilesLimit === undefined ? [] : [{ labels: ['max_open_files'], value: reading.openFilesLimit }],
  ),
  gauge('container_last_seen', 'When the container was last seen, in seconds since the epoch.', ({ now }) => now),
  gauge('container_start_time_seconds', 'When it started, in seconds since the epoch.', ({ startedAt }) => startedAt),
  limit('container_spec_cpu_period', 'CPU period of the container, in microseconds.', ({ cpuPeriod }) => cpuPeriod),
  limit('container_spec_cpu_quota', 'CPU quota of the container, in microseconds.', ({ cpuQuota }) => cpuQuota),
  limit('container_spec_cpu_shares', 'CPU shares of the container.', ({ cpuShares }) => cpuShares),
  limit('container_spec_memory_limit_bytes', 'Memory limit; 0 for none.', (given) => given.memoryLimitInBytes),
  limit('container_spec_memory_swap_limit_bytes', 'Limit on memory and swap.', (given) => given.memorySwapLimitInBytes),
  // CRI has no such request.
  gauge('container_spec_memory_reservation_limit_bytes', 'Memory reservation; 0 for none.', () => 0n),
  ...waits('cpu', 'CPU time'),
  ...waits('memory', 'memory'),
  ...waits('io', 'input and output'),
];

/** Of a pod's network interfaces: names by the columns of /proc/PID/net/dev. */
export const networkFamilies = [
  { name: 'container_network_receive_bytes_total', help: 'Bytes received.', column: 'rxBytes' },
  { name: 'container_network_receive_packets_total', help: 'Packets received.', column: 'rxPackets' },
  { name: 'container_network_receive_packets_dropped_total', help: 'Packets dropped on arrival.', column: 'rxDropped' },
  { name: 'container_network_receive_errors_total', help: 'Errors on receiving.', column: 'rxErrors' },
  { name: 'container_network_transmit_bytes_total', help: 'Bytes sent.', column: 'txBytes' },
  { name: 'container_network_transmit_packets_total', help: 'Packets sent.', column: 'txPackets' },
  {
    name: 'container_network_transmit_packets_dropped_total',
    help: 'Packets dropped on leaving.',
    column: 'txDropped',
  },
  { name: 'container_network_transmit_errors_total', help: 'Errors on sending.', column: 'txErrors' },
] as const;

type Read = (reading: ContainerReading) => bigint;
type ReadMany = (reading: ContainerReading) => readonly Value[];

function family(type: Family['type'], name: string, help: string, labels: readonly string[] | Read, read?: ReadMany) {
  if (typeof labels !== 'function') return { name, help, type, labels, read: read as ReadMany };
  return { name, help, type, labels: [], read: (reading) => [{ labels: [], value: labels(reading) }] } satisfies Family;
}

function counter(name: string, help: string, labels: readonly string[] | Read, read?: ReadMany): Family {
  return family('COUNTER', name, help, labels, read);
}

function gauge(name: string, help: string, labels: readonly string[] | Read, read?: ReadMany): Family {
  return family('GAUGE', name, help, labels, read);
}

function perDevice(name: string, help: string, of: (usage: DeviceUsage) => bigint): Family {
  return counter(name, help, ['device'], ({ devices }) => {
    return devices.map((usage) => ({ labels: [usage.device || `${usage.major}:${usage.minor}`], value: of(usage) }));
  });
}

/** A negative quota is CRI's word for no limit; the message has no sign. */
function limit(name: string, help: string, of: (resources: ContainerResources) => string): Family {
  return gauge(name, help, ({ resources }) => {
    const given = BigInt(resources === undefined ? 0 : of(resources));
    return given < 0n ? 0n : given;
  });
}

function waits(resource: 'cpu' | 'memory' | 'io', of: string): Family[] {
  const time = (name: string, who: string, share: (waited: Waited) => bigint): Family =>
    counter(
      `container_pressure_${resource}_${name}_seconds_total`,
      `Time for which ${who} waited for ${of}.`,
      [],
      (reading) => {
        const waited = reading.pressure[resource];
        return waited === undefined ? [] : [{ labels: [], value: share(waited) / US }];
      },
    );
  return [time('waiting', 'tasks', ({ some }) => some), time('stalled', 'all tasks', ({ full }) => full)];
}
