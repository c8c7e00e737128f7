import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { figuresV1 } from '#common/cgroup/figures-v1.ts';
import { figuresV2 } from '#common/cgroup/figures-v2.ts';
import { type CgroupFolders, cgroupFoldersOf } from '#common/cgroup/folders.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
beforeEach(() => {
  dir = scratchDir();
});
afterEach(() => removeScratch(dir));

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), `${text}\n`);
  }
}

function foldersOf(pid: number): CgroupFolders | undefined {
  return cgroupFoldersOf(pid, { cgroup: join(dir, 'cgroup'), proc: join(dir, 'proc') });
}

describe('the cgroup of a container', () => {
  it('is one folder per v1 controller, without those that the container shares with the daemon', () => {
    write({
      'proc/7/cgroup': '5:name=systemd:/c\n4:memory:/docker/c\n3:cpu,cpuacct:/docker/c\n2:pids:/\n0::/docker/c',
      'proc/self/cgroup': '4:memory:/daemon\n3:cpu,cpuacct:/\n2:pids:/\n0::/',
      'cgroup/memory/docker/c/memory.stat': '',
      'cgroup/cpu/docker/c/cpu.stat': '',
      'cgroup/cpuacct/docker/c/cpuacct.usage': '',
      'cgroup/docker/c/cgroup.procs': '',
    });
    const cgroup = foldersOf(7);
    expect(cgroup).toMatchObject({ version: 1 });
    expect(cgroup?.version === 1 && [...cgroup.folders.keys()].sort()).toEqual(['cpu', 'cpuacct', 'memory']);
  });

  it('is one folder where only v2 is mounted', () => {
    write({
      'proc/7/cgroup': '0::/docker/c',
      'proc/self/cgroup': '0::/daemon',
      'cgroup/docker/c/cgroup.procs': '7',
    });
    expect(foldersOf(7)).toEqual({ version: 2, folder: join(dir, 'cgroup/docker/c') });
  });

  it('is the scope that systemd made', () => {
    const scope = '/kubepods.slice/kubepods-pod1.slice/cri-containerd-c.scope';
    write({
      'proc/7/cgroup': `0::${scope}`,
      'proc/self/cgroup': '0::/system.slice/berthd.service',
      [`cgroup${scope}/cgroup.procs`]: '7',
    });
    expect(foldersOf(7)).toEqual({ version: 2, folder: join(dir, 'cgroup', scope) });
  });

  it('is not found when the process is gone or sits where the daemon does', () => {
    write({ 'proc/8/cgroup': '0::/', 'proc/self/cgroup': '0::/', 'cgroup/cgroup.procs': '8' });
    expect(foldersOf(7)).toBeUndefined();
    expect(foldersOf(8)).toBeUndefined();
  });
});

describe('figures of cgroup v1', () => {
  it('come with the names and units that containerd gives them', () => {
    write({
      'pids/pids.current': '3',
      'pids/pids.max': 'max',
      'cpu/cpu.stat': 'nr_periods 10\nnr_throttled 2\nthrottled_time 300',
      'cpuacct/cpuacct.usage': '8072629495518123456',
      'cpuacct/cpuacct.stat': 'user 12\nsystem 3',
      'cpuacct/cpuacct.usage_percpu': '40 41 ',
      'memory/memory.stat': 'cache 5\npgpgin 6\nhierarchical_memsw_limit 7\ntotal_pgmajfault 8\ntotal_inactive_file 9',
      'memory/memory.usage_in_bytes': '100',
      'memory/memory.limit_in_bytes': '9223372036854771712',
      'memory/memory.max_usage_in_bytes': '200',
      'memory/memory.failcnt': '1',
      'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 4',
      'blkio/blkio.throttle.io_service_bytes_recursive': '8:0 Read 4096\n8:0 Total 4096\nTotal 4096',
      'hugetlb/hugetlb.2MB.usage_in_bytes': '0',
    });
    const controllers = ['pids', 'cpu', 'cpuacct', 'memory', 'blkio', 'hugetlb'];
    const folders = new Map(controllers.map((name) => [name, join(dir, name)] as const));
    const name = 'io.containerd.cgroups.v1.Metrics';
    expect(decode(name, encode(name, figuresV1(folders)))).toMatchObject({
      pids: { current: '3', limit: '0' },
      cpu: {
        usage: { total: '8072629495518123456', user: '120000000', kernel: '30000000', perCpu: ['40', '41'] },
        throttling: { periods: '10', throttledPeriods: '2', throttledTime: '300' },
      },
      memory: {
        cache: '5',
        pgPgIn: '6',
        hierarchicalSwapLimit: '7',
        totalPgMajFault: '8',
        totalInactiveFile: '9',
        usage: { usage: '100', limit: '9223372036854771712', max: '200', failcnt: '1' },
        swap: null,
      },
      memoryOomControl: { oomKill: '4' },
      blkio: {
        ioServiceBytesRecursive: [
          { op: 'Read', major: '8', minor: '0', value: '4096' },
          { op: 'Total', value: '4096' },
        ],
      },
      hugetlb: [{ pagesize: '2MB', usage: '0' }],
    });
  });

  it('are left out where the container has no cgroup of its own', () => {
    expect(figuresV1(new Map())).toEqual({});
  });
});

describe('figures of cgroup v2', () => {
  it('come with the names and units that containerd gives them', () => {
    const pressure = 'some avg10=0.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=11';
    write({
      'c/pids.current': '3',
      'c/pids.max': 'max',
      'c/cpu.stat': 'usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_throttled 1',
      'c/cpu.pressure': pressure,
      'c/memory.stat': 'anon 5\nfile_mapped 6\nworkingset_refault_anon 7',
      'c/memory.current': '100',
      'c/memory.max': 'max',
      'c/memory.swap.max': '0',
      'c/memory.events': 'low 0\noom 2\noom_kill 1',
      'c/io.stat': '8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\n8:16',
      'c/hugetlb.2MB.current': '0',
      'c/hugetlb.2MB.max': 'max',
      'c/hugetlb.2MB.events': 'max 6',
    });
    const name = 'io.containerd.cgroups.v2.Metrics';
    const unlimited = '18446744073709551615';
    expect(decode(name, encode(name, figuresV2(join(dir, 'c'))))).toMatchObject({
      pids: { current: '3', limit: unlimited },
      cpu: { usageUsec: '30', userUsec: '20', nrThrottled: '1', psi: { some: { avg10: 0.5, total: '77' } } },
      memory: { anon: '5', fileMapped: '6', usage: '100', usageLimit: unlimited, swapLimit: '0', psi: null },
      memoryEvents: { oom: '2', oomKill: '1' },
      io: { usage: [{ major: '8', minor: '0', rbytes: '4096', wbytes: '1', rios: '2', wios: '3' }], psi: null },
      hugetlb: [{ pagesize: '2MB', current: '0', max: unlimited, failcnt: '6' }],
    });
  });

  it('are left out where no controller is enabled', () => {
    write({ 'c/cgroup.procs': '', 'c/cpu.stat': 'usage_usec 30' });
    expect(figuresV2(join(dir, 'c'))).toMatchObject({ pids: undefined, memory: undefined, io: undefined });
  });
});
