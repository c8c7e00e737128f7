import type { HugeTlbStat } from '#proto/io/containerd/cgroups/v2/HugeTlbStat.ts';
import type { IOEntry } from '#proto/io/containerd/cgroups/v2/IOEntry.ts';
import type { Metrics } from '#proto/io/containerd/cgroups/v2/Metrics.ts';
import { names, readSmall } from '../native/index.ts';
import { counters, flatKeyed, linesOf } from './kernel-files.ts';
import { pressuresOf } from './pressure.ts';

/** What containerd's clients read where the kernel says `max`. */
const UNLIMITED = String(2n ** 64n - 1n);

/** The figures of a cgroup v2 (admin-guide/cgroup-v2); parts whose controller isn't enabled for it are absent. */
export function figuresV2(folder: string): Metrics {
  return {
    pids: readPids(folder),
    cpu: readCpu(folder),
    memory: readMemory(folder),
    memoryEvents: readMemoryEvents(folder),
    io: readIo(folder),
    hugetlb: readHugetlb(folder),
  };
}

function readPids(folder: string) {
  const [current, limit] = readSmall(folder, ['pids.current', 'pids.max']);
  return current === undefined ? undefined : { current, limit: bounded(limit) };
}

function readCpu(folder: string) {
  const [stat, pressure] = readSmall(folder, ['cpu.stat', 'cpu.pressure']);
  return { ...counters(stat), psi: pressuresOf(pressure) };
}

function readMemory(folder: string) {
  const files = ['stat', 'current', 'max', 'peak', 'swap.current', 'swap.max', 'swap.peak', 'pressure'];
  const [stat, usage, limit, maxUsage, swapUsage, swapLimit, swapMaxUsage, pressure] = readSmall(
    folder,
    files.map((file) => `memory.${file}`),
  );
  if (usage === undefined) return undefined;
  return {
    ...counters(stat),
    usage,
    usageLimit: bounded(limit),
    maxUsage,
    swapUsage,
    swapLimit: bounded(swapLimit),
    swapMaxUsage,
    psi: pressuresOf(pressure),
  };
}

function readMemoryEvents(folder: string) {
  const [text] = readSmall(folder, ['memory.events']);
  return text === undefined ? undefined : counters(text);
}

function readIo(folder: string) {
  const [stat, pressure] = readSmall(folder, ['io.stat', 'io.pressure']);
  return stat === undefined ? undefined : { usage: linesOf(stat).flatMap(ioEntry), psi: pressuresOf(pressure) };
}

/** A line `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`; without pairs for a device that was never used. */
function ioEntry(line: string): IOEntry[] {
  const [device, ...pairs] = line.split(' ');
  const [major, minor] = device?.split(':') ?? [];
  if (pairs.length === 0) return [];
  return [{ major, minor, ...(Object.fromEntries(pairs.map((pair) => pair.split('='))) as object) }];
}

function readHugetlb(folder: string): HugeTlbStat[] {
  const sizes = names(folder).flatMap((file) => /^hugetlb\.([^.]+)\.current$/.exec(file)?.[1] ?? []);
  return sizes.map((pagesize) => {
    const files = ['current', 'max', 'events'].map((file) => `hugetlb.${pagesize}.${file}`);
    const [current, max, events] = readSmall(folder, files);
    return { pagesize, current, max: bounded(max), failcnt: flatKeyed(events).get('max') };
  });
}

function bounded(limit: string | undefined): string | undefined {
  return limit === 'max' ? UNLIMITED : limit;
}
