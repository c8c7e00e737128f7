import { describe, expect, it } from 'vitest';
import {
  capabilitiesOfMask,
  containerCapabilities,
  defaultCapabilities,
} from '../../../apps/cri-shim/spec/capabilities.ts';
import { cgroupPlacement } from '../../../apps/cri-shim/spec/cgroups.ts';
import { clampOomScoreAdj, processRlimits } from '../../../apps/cri-shim/spec/limits.ts';
import { ociResources } from '../../../apps/cri-shim/spec/resources.ts';
import { defaultSeccomp, seccompFor } from '../../../apps/cri-shim/spec/seccomp.ts';
import { criSignal, stopSignalNumber } from '../../../apps/cri-shim/spec/stop-signal.ts';
import { checkSysctls } from '../../../apps/cri-shim/spec/sysctls.ts';
import { noResources } from '../../support/no-resources.ts';

const invalid = expect.objectContaining({ code: 'invalid_argument' });
const precondition = expect.objectContaining({ code: 'failed_precondition' });

describe('capabilities', () => {
  const available = capabilitiesOfMask((1n << 41n) - 1n);
  const ask = (add: string[], drop: string[], privileged = false) =>
    containerCapabilities({ add, drop, privileged, available });

  it('are Docker’s by default, and never inheritable or ambient', () => {
    expect(ask([], [])).toEqual({
      bounding: defaultCapabilities,
      effective: defaultCapabilities,
      permitted: defaultCapabilities,
    });
  });

  it('are added and dropped by name, with or without the prefix', () => {
    const { bounding } = ask(['sys_admin', 'CAP_NET_ADMIN'], ['CHOWN']);
    expect(bounding).toContain('CAP_SYS_ADMIN');
    expect(bounding).toContain('CAP_NET_ADMIN');
    expect(bounding).not.toContain('CAP_CHOWN');
  });

  it('apply ALL before single names, in both directions', () => {
    expect(ask(['ALL'], ['CHOWN']).bounding).toHaveLength(available.length - 1);
    expect(ask(['KILL'], ['ALL']).bounding).toEqual(['CAP_KILL']);
  });

  it('are all that the daemon has for a privileged container', () => {
    expect(ask([], ['ALL'], true).bounding).toEqual(available);
  });

  it('refuse unknown names', () => {
    expect(() => ask(['FLY'], [])).toThrow(invalid);
  });
});

describe('the default seccomp profile', () => {
  const allowed = (bounding: string[], arch = 'x64') =>
    new Set(
      defaultSeccomp(bounding, arch)
        .syscalls?.filter(({ action, args }) => action === 'SCMP_ACT_ALLOW' && args === undefined)
        .flatMap(({ names }) => names),
    );

  it('denies what Docker denies', () => {
    const names = allowed([...defaultCapabilities]);
    for (const name of ['openat', 'execve', 'chroot', 'ptrace', 'arch_prctl']) expect(names).toContain(name);
    for (const name of ['mount', 'bpf', 'reboot', 'keyctl', 'kexec_load', 'unshare', 'open_by_handle_at', 'clone3']) {
      expect(names).not.toContain(name);
    }
  });

  it('opens calls with the capability that guards them', () => {
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('mount');
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('clone3');
    expect(allowed(['CAP_SYS_BOOT'])).toContain('reboot');
    expect(allowed([])).not.toContain('chroot');
  });

  it('makes clone3 look unknown without CAP_SYS_ADMIN, so that the C library falls back', () => {
    const rule = defaultSeccomp([]).syscalls?.find(({ names }) => names.includes('clone3'));
    expect(rule).toMatchObject({ action: 'SCMP_ACT_ERRNO', errnoRet: 38 });
  });

  it('names the architectures of the host', () => {
    expect(defaultSeccomp([], 'x64').architectures).toContain('SCMP_ARCH_X86_64');
    expect(defaultSeccomp([], 'arm64').architectures).toContain('SCMP_ARCH_AARCH64');
  });
});

describe('a security profile', () => {
  it('is none when unconfined or not given', () => {
    expect(seccompFor(null, [], true)).toBeUndefined();
    expect(seccompFor({ profileType: 'Unconfined', localhostRef: '' }, [], true)).toBeUndefined();
  });

  it('is skipped for RuntimeDefault, but an error for Localhost, where the kernel can’t filter', () => {
    expect(seccompFor({ profileType: 'RuntimeDefault', localhostRef: '' }, [], false)).toBeUndefined();
    expect(() => seccompFor({ profileType: 'Localhost', localhostRef: '/x' }, [], false)).toThrow(precondition);
  });

  it('names a localhost profile that is missing, relative or no profile', () => {
    for (const localhostRef of ['/nonexistent/profile.json', 'profile.json', '/proc/self/status']) {
      expect(() => seccompFor({ profileType: 'Localhost', localhostRef }, [], true)).toThrow(
        expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(localhostRef) }),
      );
    }
  });
});

describe('sysctls', () => {
  const own = { hostNetwork: false, hostIpc: false };

  it('pass when their namespace is the pod’s own', () => {
    const wanted = { 'net.ipv4.ip_forward': '1', 'kernel.shm_rmid_forced': '1', 'fs.mqueue.msg_max': '10' };
    expect(checkSysctls(wanted, own)).toEqual(wanted);
    expect(checkSysctls({ 'net/ipv4/ip_forward': '1' }, own)).toEqual({ 'net.ipv4.ip_forward': '1' });
  });

  it.each([
    [{ 'vm.swappiness': '1' }, own],
    [{ 'kernel.core_pattern': '|/evil' }, own],
    [{ 'net.ipv4.ip_forward': '1' }, { hostNetwork: true, hostIpc: false }],
    [{ 'kernel.shmmax': '1' }, { hostNetwork: false, hostIpc: true }],
    [{ 'net.ipv4.ip_forward': '1+kernel.core_pattern=x' }, own],
    [{ 'net.ipv4.ip_forward': '1\nkernel.core_pattern=x' }, own],
    [{ 'net.ipv4.x=1;kernel.y': '1' }, own],
    [{ 'net/../kernel.core_pattern': '1' }, own],
  ])('are refused: %j', (sysctls, sharing) => {
    expect(() => checkSysctls(sysctls as unknown as Record<string, string>, sharing)).toThrow(invalid);
  });
});

describe('the cgroup of a container', () => {
  it('lies below the pod’s and bears the container’s id', () => {
    expect(cgroupPlacement('/kubepods/pod1', 'abc', false)).toEqual({
      cgroupsPath: '/kubepods/pod1/abc',
      driver: 'cgroupfs',
    });
    expect(cgroupPlacement('/kubepods.slice/kubepods-pod1.slice', 'abc', true)).toEqual({
      cgroupsPath: 'kubepods-pod1.slice:cri-containerd:abc',
      driver: 'systemd',
    });
  });

  it('makes nothing but itself when there is no parent', () => {
    expect(cgroupPlacement('', 'abc', true).cgroupsPath).toBe('/berth-abc');
  });

  it('refuses slices without systemd, and paths that climb', () => {
    expect(() => cgroupPlacement('/a.slice', 'abc', false)).toThrow(precondition);
    expect(() => cgroupPlacement('/a/../..', 'abc', false)).toThrow(invalid);
  });
});

describe('limits', () => {
  const plain = { nofileHard: 20_000, oomScoreAdj: 0, mayRaise: false };

  it('are explicit, and clamped to what can be set', () => {
    expect(processRlimits(plain)).toEqual([{ type: 'RLIMIT_NOFILE', hard: 20_000, soft: 20_000 }]);
    expect(processRlimits({ ...plain, mayRaise: true })[0]?.hard).toBe(1_048_576);
    expect(processRlimits({ ...plain, nofileHard: Number.POSITIVE_INFINITY })[0]?.hard).toBe(1_048_576);
  });

  it('keep the OOM score above the daemon’s own without CAP_SYS_RESOURCE', () => {
    expect(clampOomScoreAdj(-998, plain)).toBe(0);
    expect(clampOomScoreAdj(500, plain)).toBe(500);
    expect(clampOomScoreAdj(-998, { ...plain, mayRaise: true })).toBe(-998);
  });
});

describe('resources', () => {
  const all = { swap: true, hugetlb: true, unified: true };

  it('leave out what isn’t set', () => {
    expect(ociResources(noResources, all)).toEqual({});
  });

  it('forbid swapping beyond the memory limit unless told otherwise', () => {
    const limited = { ...noResources, memoryLimitInBytes: '1048576' };
    expect(ociResources(limited, all).memory).toEqual({ limit: 1_048_576, swap: 1_048_576 });
    expect(ociResources(limited, { ...all, swap: false }).memory).toEqual({ limit: 1_048_576 });
    expect(ociResources({ ...limited, memorySwapLimitInBytes: '2097152' }, all).memory?.swap).toBe(2_097_152);
  });

  it('carry cpu, cpuset, huge pages and unified keys', () => {
    const wanted = {
      ...noResources,
      cpuPeriod: '100000',
      cpuQuota: '-1',
      cpuShares: '2',
      cpusetCpus: '0-1',
      cpusetMems: '0',
      hugepageLimits: [{ pageSize: '2MB', limit: '4194304' }],
      unified: { 'memory.high': '1' },
    };
    expect(ociResources(wanted, all)).toEqual({
      cpu: { period: 100_000, quota: -1, shares: 2, cpus: '0-1', mems: '0' },
      hugepageLimits: [{ pageSize: '2MB', limit: 4_194_304 }],
      unified: { 'memory.high': '1' },
    });
  });

  it('name files of cgroup v2 in vain on a host without it', () => {
    const wanted = { ...noResources, unified: { 'memory.high': '1' } };
    expect(() => ociResources(wanted, { ...all, unified: false })).toThrow(precondition);
  });

  it('ask for huge pages in vain where there is no controller', () => {
    const wanted = { ...noResources, hugepageLimits: [{ pageSize: '2MB', limit: '4194304' }] };
    expect(() => ociResources(wanted, { ...all, hugetlb: false })).toThrow(precondition);
  });
});

describe('the stop signal', () => {
  it('is the pod’s, else the image’s, else SIGTERM', () => {
    expect(stopSignalNumber('SIGUSR1', 'SIGQUIT')).toBe(10);
    expect(stopSignalNumber('RUNTIME_DEFAULT', 'SIGQUIT')).toBe(3);
    expect(stopSignalNumber('RUNTIME_DEFAULT', 'quit')).toBe(3);
    expect(stopSignalNumber('RUNTIME_DEFAULT', '37')).toBe(37);
    expect(stopSignalNumber('RUNTIME_DEFAULT', 'SIGRTMIN+3')).toBe(37);
    expect(stopSignalNumber('RUNTIME_DEFAULT', '')).toBe(15);
    expect(stopSignalNumber('SIGRTMINPLUS3', '')).toBe(37);
    expect(stopSignalNumber('SIGRTMAXMINUS1', '')).toBe(63);
  });

  it('is refused when Linux doesn’t know it', () => {
    expect(() => stopSignalNumber('RUNTIME_DEFAULT', 'SIGNOPE')).toThrow(invalid);
    expect(() => stopSignalNumber('RUNTIME_DEFAULT', '65')).toThrow(invalid);
    expect(() => stopSignalNumber(77, '')).toThrow(invalid);
  });

  it('goes back to its CRI name', () => {
    for (const name of ['SIGTERM', 'SIGQUIT', 'SIGRTMIN', 'SIGRTMINPLUS3', 'SIGRTMAXMINUS1', 'SIGRTMAX'] as const) {
      expect(criSignal(stopSignalNumber(name, ''))).toBe(name);
    }
  });
});
