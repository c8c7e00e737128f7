import { existsSync, readFileSync } from 'node:fs';
import { getCapEffective } from '#common/native/index.ts';
import { type AppArmor, hostAppArmor } from './apparmor.ts';
import { type CapabilityName, capabilitiesOfMask } from './capabilities.ts';
import { type HostLimits, readHostLimits } from './limits.ts';
import type { ControllerSupport } from './resources.ts';
import { hostHasSeccomp } from './seccomp.ts';

/** What this machine offers, read once at start. */
export interface HostFacts {
  /** systemd is the init: slices can be made, and the kubelet should use that driver (sd_booted(3)). */
  readonly systemd: boolean;
  /** /sys/fs/cgroup is cgroup v2. */
  readonly unifiedCgroups: boolean;
  readonly controllers: ControllerSupport;
  readonly capabilities: readonly CapabilityName[];
  readonly limits: HostLimits;
  readonly seccomp: boolean;
  readonly appArmor: AppArmor | undefined;
}

export function readHostFacts(): HostFacts {
  const capabilities = getCapEffective();
  const unifiedCgroups = existsSync('/sys/fs/cgroup/cgroup.controllers');
  return {
    systemd: existsSync('/run/systemd/system'),
    unifiedCgroups,
    controllers: unifiedCgroups ? unifiedSupport() : legacySupport(),
    capabilities: capabilitiesOfMask(capabilities),
    limits: readHostLimits(capabilities),
    seccomp: hostHasSeccomp(),
    appArmor: hostAppArmor(),
  };
}

function unifiedSupport(): ControllerSupport {
  const controllers = readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim().split(/\s+/);
  // Swap accounting can be off while the memory controller is on; our own cgroup shows it, the root has no such file.
  const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
  const swap = own === '/' ? controllers.includes('memory') : existsSync(`/sys/fs/cgroup${own}/memory.swap.max`);
  return { swap, hugetlb: controllers.includes('hugetlb'), unified: true };
}

function legacySupport(): ControllerSupport {
  return {
    swap: existsSync('/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes'),
    // A folder without this file is what an unmounted hierarchy left behind.
    hugetlb: existsSync('/sys/fs/cgroup/hugetlb/cgroup.procs'),
    unified: false,
  };
}
