import { BerthError } from '#common/errors.ts';
import type { LinuxResources } from '#common/oci/runtime-spec.ts';
import type { ContainerResources } from '../cri-types.ts';

/** Which controllers the host has, as far as limits depend on them. */
export interface ControllerSupport {
  readonly swap: boolean;
  readonly hugetlb: boolean;
  /** cgroup v2, whose files the `unified` map names. */
  readonly unified: boolean;
}

/**
 * The OCI form of CRI resources. Zero means "not set", as the CRI has it. A memory limit without a swap limit forbids
 * swapping.
 *
 * @throws failed_precondition for huge page limits on a host without the controller, and for files of cgroup v2 on one
 * without it.
 */
export function ociResources(resources: ContainerResources, support: ControllerSupport): LinuxResources {
  const cpu: NonNullable<LinuxResources['cpu']> = {};
  const period = number(resources.cpuPeriod);
  const quota = number(resources.cpuQuota);
  const shares = number(resources.cpuShares);
  if (period !== 0) cpu.period = period;
  if (quota !== 0) cpu.quota = quota;
  if (shares !== 0) cpu.shares = shares;
  if (resources.cpusetCpus !== '') cpu.cpus = resources.cpusetCpus;
  if (resources.cpusetMems !== '') cpu.mems = resources.cpusetMems;

  const memory: NonNullable<LinuxResources['memory']> = {};
  const limit = number(resources.memoryLimitInBytes);
  const swap = number(resources.memorySwapLimitInBytes);
  if (limit !== 0) memory.limit = limit;
  if (support.swap && (swap !== 0 || limit !== 0)) memory.swap = swap !== 0 ? swap : limit;

  const result: LinuxResources = {};
  if (Object.keys(cpu).length > 0) result.cpu = cpu;
  if (Object.keys(memory).length > 0) result.memory = memory;
  const limits = resources.hugepageLimits.filter(({ limit }) => support.hugetlb || limit !== '0');
  if (limits.length > 0) {
    if (!support.hugetlb) {
      throw new BerthError(
        'failed_precondition',
        'huge page limits are given, but this host has no hugetlb cgroup controller',
      );
    }
    result.hugepageLimits = limits.map(({ pageSize, limit }) => ({ pageSize, limit: number(limit) }));
  }
  const [file] = Object.keys(resources.unified);
  if (file === undefined) return result;
  if (!support.unified) {
    throw new BerthError('failed_precondition', `unified: ${file} is set, but this host has cgroups of version 1`);
  }
  result.unified = { ...resources.unified };
  return result;
}

/** A 64-bit field; JSON numbers are exact up to 2^53, far above any real limit. */
function number(field: string): number {
  return Number(field);
}
