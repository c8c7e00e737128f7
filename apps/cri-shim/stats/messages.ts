import type { Pressure, Pressures } from '#common/cgroup/pressure.ts';
import type { CpuUsage } from '#proto/runtime/v1/CpuUsage.ts';
import type { IoUsage } from '#proto/runtime/v1/IoUsage.ts';
import type { MemoryUsage } from '#proto/runtime/v1/MemoryUsage.ts';
import type { PsiStats } from '#proto/runtime/v1/PsiStats.ts';
import type { SwapUsage } from '#proto/runtime/v1/SwapUsage.ts';
import type { CgroupSample } from './cgroup-sample.ts';

/** CRI's form of a sample; a part that the kernel doesn't count is absent. */
export interface Usage {
  readonly cpu: CpuUsage | null;
  readonly memory: MemoryUsage | null;
  readonly swap: SwapUsage | null;
  readonly io: IoUsage | null;
}

/** @param nanoCores the rate of `sample.cpuNs` */
export function usageOf(sample: CgroupSample, nanoCores: bigint): Usage {
  const timestamp = sample.at.toString();
  const { memory, swap, pressure } = sample;
  return {
    cpu:
      sample.cpuNs === undefined
        ? null
        : {
            timestamp,
            usageCoreNanoSeconds: uint64(sample.cpuNs),
            usageNanoCores: uint64(nanoCores),
            psi: psiOf(pressure.cpu),
          },
    memory:
      memory === undefined
        ? null
        : {
            timestamp,
            workingSetBytes: uint64(memory.workingSet),
            availableBytes: memory.available === undefined ? null : uint64(memory.available),
            usageBytes: uint64(memory.usage),
            rssBytes: uint64(memory.rss),
            pageFaults: uint64(memory.pageFaults),
            majorPageFaults: uint64(memory.majorPageFaults),
            psi: psiOf(pressure.memory),
          },
    swap:
      swap === undefined
        ? null
        : {
            timestamp,
            swapUsageBytes: uint64(swap.usage),
            swapAvailableBytes: swap.available === undefined ? null : uint64(swap.available),
          },
    io: pressure.io === undefined ? null : { timestamp, psi: psiOf(pressure.io) },
  };
}

export function uint64(value: bigint): { value: string } {
  return { value: value.toString() };
}

function psiOf(pressures: Pressures | undefined): PsiStats | null {
  if (pressures === undefined) return null;
  // The kernel counts microseconds, CRI nanoseconds.
  const of = (pressure: Pressure | undefined) =>
    pressure === undefined
      ? null
      : {
          Total: (BigInt(pressure.total ?? 0) * 1000n).toString(),
          Avg10: pressure.avg10,
          Avg60: pressure.avg60,
          Avg300: pressure.avg300,
        };
  return { Some: of(pressures.some), Full: of(pressures.full) };
}
