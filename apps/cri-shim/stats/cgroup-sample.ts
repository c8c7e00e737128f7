import type { CgroupFolders } from '#common/cgroup/folders.ts';
import { flatValue } from '#common/cgroup/kernel-files.ts';
import { type Pressures, pressuresOf } from '#common/cgroup/pressure.ts';
import { nowNs } from '#common/timestamp.ts';
import type { CgroupFiles } from './cgroup-files.ts';

/** What a cgroup, with those below it, used up to one moment. Sizes in bytes; absent where the kernel doesn't count. */
export interface CgroupSample {
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  readonly cpuNs?: bigint;
  readonly memory?: MemorySample;
  readonly swap?: { readonly usage: bigint; readonly available?: bigint };
  readonly processes?: bigint;
  /** Only cgroup v2 has them. */
  readonly pressure: { readonly cpu?: Pressures; readonly memory?: Pressures; readonly io?: Pressures };
}

export interface MemorySample {
  readonly usage: bigint;
  /** Usage without what the kernel can drop at once: the file cache that wasn't used lately. */
  readonly workingSet: bigint;
  /** What is left below the limit; absent without one. */
  readonly available?: bigint;
  readonly rss: bigint;
  readonly pageFaults: bigint;
  readonly majorPageFaults: bigint;
}

/** v1 writes "no limit" as the largest multiple of the page size; nobody has a machine with this much memory. */
const NO_LIMIT = 2n ** 62n;

const cpuFilesV1 = ['cpuacct.usage'];
const memoryFilesV1 = ['memory.usage_in_bytes', 'memory.limit_in_bytes', 'memory.stat', 'memory.memsw.limit_in_bytes'];
const pidsFilesV1 = ['pids.current'];
const filesV2 = [
  'cpu.stat',
  'memory.current',
  'memory.max',
  'memory.stat',
  'memory.swap.current',
  'memory.swap.max',
  'pids.current',
  'cpu.pressure',
  'memory.pressure',
  'io.pressure',
];

/** Reads the few files that CRI's statistics need: this happens for every container of the node every few seconds. */
export function sampleOf(cgroup: CgroupFolders, files: CgroupFiles): CgroupSample {
  return cgroup.version === 1 ? sampleV1(cgroup.folders, files) : sampleV2(cgroup.folder, files);
}

function sampleV1(folders: ReadonlyMap<string, string>, files: CgroupFiles): CgroupSample {
  const read = (controller: string, names: readonly string[]): (string | undefined)[] => {
    const folder = folders.get(controller);
    return folder === undefined ? [] : files.read(folder, names);
  };
  const [cpu] = read('cpuacct', cpuFilesV1);
  const [usage, limit, stat, swapLimit] = read('memory', memoryFilesV1);
  const [processes] = read('pids', pidsFilesV1);
  const swap = flatValue(stat, 'total_swap');
  return {
    at: nowNs(),
    ...optional('cpuNs', numberOf(cpu)),
    ...optional('memory', memoryOf(usage, limit, stat, 'total_inactive_file', 'total_rss', 'total_')),
    ...(swap === undefined || swapLimit === undefined
      ? {}
      : { swap: { usage: BigInt(swap), ...available(limitOf(swapLimit, limit), BigInt(swap)) } }),
    ...optional('processes', numberOf(processes)),
    pressure: {},
  };
}

function sampleV2(folder: string, files: CgroupFiles): CgroupSample {
  const [cpu, usage, limit, stat, swap, swapLimit, processes, cpuPressure, memoryPressure, ioPressure] = files.read(
    folder,
    filesV2,
  );
  const usec = numberOf(flatValue(cpu, 'usage_usec'));
  const swapUsage = numberOf(swap);
  return {
    at: nowNs(),
    ...optional('cpuNs', usec === undefined ? undefined : usec * 1000n),
    ...optional('memory', memoryOf(usage, limit, stat, 'inactive_file', 'anon', '')),
    ...(swapUsage === undefined ? {} : { swap: { usage: swapUsage, ...available(numberOf(swapLimit), swapUsage) } }),
    ...optional('processes', numberOf(processes)),
    pressure: {
      ...optional('cpu', pressuresOf(cpuPressure)),
      ...optional('memory', pressuresOf(memoryPressure)),
      ...optional('io', pressuresOf(ioPressure)),
    },
  };
}

function memoryOf(
  usageText: string | undefined,
  limitText: string | undefined,
  stat: string | undefined,
  inactiveFile: string,
  rss: string,
  prefix: string,
): MemorySample | undefined {
  const usage = numberOf(usageText);
  if (usage === undefined) return undefined;
  const figure = (name: string): bigint => BigInt(flatValue(stat, name) ?? 0);
  const cache = figure(inactiveFile);
  const workingSet = usage > cache ? usage - cache : 0n;
  return {
    usage,
    workingSet,
    ...available(limitOf(limitText, undefined), workingSet),
    rss: figure(rss),
    pageFaults: figure(`${prefix}pgfault`),
    majorPageFaults: figure(`${prefix}pgmajfault`),
  };
}

/** The limit of a v1 file, less one that is part of it; undefined for none. */
function limitOf(text: string | undefined, part: string | undefined): bigint | undefined {
  const limit = numberOf(text);
  if (limit === undefined || limit >= NO_LIMIT) return undefined;
  return limit - (numberOf(part) ?? 0n);
}

function available(limit: bigint | undefined, used: bigint): { available?: bigint } {
  if (limit === undefined) return {};
  return { available: limit > used ? limit - used : 0n };
}

/** undefined for a file that isn't there, and for `max`. */
function numberOf(text: string | undefined): bigint | undefined {
  return text === undefined || !/^\d+$/.test(text) ? undefined : BigInt(text);
}

function optional<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: T };
}
