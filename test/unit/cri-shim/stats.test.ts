import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { CgroupFiles } from '../../../apps/cri-shim/stats/cgroup-files.ts';
import { sampleOf } from '../../../apps/cri-shim/stats/cgroup-sample.ts';
import { CpuRates } from '../../../apps/cri-shim/stats/cpu-rates.ts';
import { usageOf } from '../../../apps/cri-shim/stats/messages.ts';
import { WritableLayers } from '../../../apps/cri-shim/stats/writable-layers.ts';
import { openFiles } from '../../support/open-files.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-stats-'));
});

afterEach(() => {
  rmSync(dir, { recursive: true });
});

function files(content: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(content)) writeFileSync(join(dir, name), `${text}\n`);
}

describe('a sample of a cgroup', () => {
  it('of version 2 has everything that CRI asks for', () => {
    files({
      'cpu.stat': 'usage_usec 1500\nuser_usec 1000',
      'memory.current': '5000',
      'memory.max': '10000',
      'memory.stat': 'anon 3000\ninactive_file 1000\npgfault 7\npgmajfault 2',
      'memory.swap.current': '100',
      'memory.swap.max': 'max',
      'pids.current': '3',
      'cpu.pressure': 'some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3',
    });
    const { cpu, memory, swap, io } = usageOf(sampleOf({ version: 2, folder: dir }, new CgroupFiles()), 5n);
    expect(cpu).toMatchObject({
      usageCoreNanoSeconds: { value: '1500000' },
      usageNanoCores: { value: '5' },
      psi: { Some: { Total: '12000', Avg10: 1.5 }, Full: { Total: '3000' } },
    });
    expect(memory).toMatchObject({
      usageBytes: { value: '5000' },
      workingSetBytes: { value: '4000' },
      availableBytes: { value: '6000' },
      rssBytes: { value: '3000' },
      pageFaults: { value: '7' },
      majorPageFaults: { value: '2' },
      psi: null,
    });
    expect(swap).toMatchObject({ swapUsageBytes: { value: '100' }, swapAvailableBytes: null });
    expect(io).toBe(null);
  });

  it('of version 1 knows no limit where the kernel writes its largest number', () => {
    files({
      'cpuacct.usage': '42',
      'memory.usage_in_bytes': '5000',
      'memory.limit_in_bytes': '9223372036854771712',
      'memory.stat': 'rss 1\ntotal_rss 3000\ntotal_inactive_file 6000\ntotal_pgfault 7\ntotal_pgmajfault 2',
    });
    const folders = new Map(['cpuacct', 'memory'].map((controller) => [controller, dir]));
    const { cpu, memory, swap } = usageOf(sampleOf({ version: 1, folders }, new CgroupFiles()), 0n);
    expect(cpu).toMatchObject({ usageCoreNanoSeconds: { value: '42' }, psi: null });
    expect(memory).toMatchObject({
      workingSetBytes: { value: '0' },
      availableBytes: null,
      rssBytes: { value: '3000' },
    });
    expect(swap).toBe(null);
  });

  it('of a cgroup that is gone is empty', () => {
    expect(usageOf(sampleOf({ version: 2, folder: join(dir, 'gone') }, new CgroupFiles()), 0n)).toEqual({
      cpu: null,
      memory: null,
      swap: null,
      io: null,
    });
  });
});

describe('files of cgroups', () => {
  const names = ['usage', 'limit'];
  const held = (): number => openFiles(process.pid, dir);

  it('stay open and tell what they hold now, also those that come later', () => {
    const kept = new CgroupFiles();
    files({ usage: '1' });
    expect(kept.read(dir, names)).toEqual(['1', undefined]);
    expect(held()).toBe(1);
    files({ usage: '22', limit: 'line\n'.repeat(2000) });
    expect(kept.read(dir, names)).toEqual(['22', 'line\n'.repeat(2000).trimEnd()]);
    files({ usage: '3' });
    expect(kept.read(dir, names)[0]).toBe('3');
    expect(kept.read(dir, ['limit'])[0]).toContain('line');
    expect(held()).toBe(2);
  });

  it('are closed when nobody asks for them any more', async () => {
    const kept = new CgroupFiles({ idleMs: 5 });
    files({ usage: '1', limit: '2' });
    kept.read(dir, names);
    await expect.poll(held).toBe(0);
    expect(kept.read(dir, names)).toEqual(['1', '2']);
    await expect.poll(held).toBe(0);
  });

  it('are read without being kept beyond the bound', () => {
    const kept = new CgroupFiles({ most: 3 });
    files({ usage: '1', limit: '2' });
    mkdirSync(join(dir, 'other'));
    writeFileSync(join(dir, 'other', 'usage'), '5\n');
    expect(kept.read(dir, names)).toEqual(['1', '2']);
    expect(kept.read(join(dir, 'other'), names)).toEqual(['5', undefined]);
    expect(held()).toBe(2);
  });

  it('of a cgroup that is gone hold nothing, and give room to others', () => {
    const root = `/sys/fs/cgroup/${existsSync('/sys/fs/cgroup/pids') ? 'pids/' : ''}`;
    const folder = `${root}${basename(dir)}`;
    const kept = new CgroupFiles({ most: 1 });
    const list = ['cgroup.procs'];
    mkdirSync(folder);
    expect(kept.read(folder, list)).toEqual(['']);
    rmdirSync(folder);
    expect(kept.read(folder, list)).toEqual([undefined]);
    files({ usage: '1' });
    kept.read(dir, ['usage']);
    expect(held()).toBe(1);
  });
});

describe('the rate of CPU', () => {
  const second = 1_000_000_000n;
  const item = {};

  it('is that since the start at first, then that since a reading a second ago or more', () => {
    const rates = new CpuRates();
    expect(rates.rate(item, { at: 10n * second, used: 2n * second }, 6n * second)).toBe(second / 2n);
    expect(rates.rate(item, { at: 12n * second, used: 4n * second }, 0n)).toBe(second);
    // Too soon: the base stays.
    expect(rates.rate(item, { at: 12n * second + 2n, used: 4n * second }, 0n)).toBe(
      (2n * second * second) / (2n * second + 2n),
    );
  });

  it('is zero for a counter that began anew', () => {
    const rates = new CpuRates();
    rates.rate(item, { at: 10n * second, used: second }, 0n);
    expect(rates.rate(item, { at: 12n * second, used: 0n }, 0n)).toBe(0n);
  });
});

describe("writable layers' usage", () => {
  it('is counted once for all who ask, one layer at a time', async () => {
    let running = 0;
    const counted: string[] = [];
    const layers = new WritableLayers(async (id) => {
      expect(++running).toBe(1);
      await new Promise(setImmediate);
      running--;
      counted.push(id);
      return { size: '4096', inodes: '2' };
    });
    const [a, b] = [{ id: 'a' }, { id: 'b' }];
    const usages = await Promise.all([a, b, a].map((layer) => layers.usage(layer)));
    for (const usage of usages) expect(usage).toMatchObject({ bytes: '4096', inodes: '2' });
    await layers.usage(a);
    expect(counted).toEqual(['a', 'b']);
  });

  it('is absent for a layer that is gone, and does not hinder others', async () => {
    const layers = new WritableLayers(async (id) => {
      if (id === 'gone') throw new BerthError('not_found', 'gone');
      return { size: '1', inodes: '1' };
    });
    expect(await layers.usage({ id: 'gone' })).toBe(undefined);
    expect(await layers.usage({ id: 'there' })).toMatchObject({ bytes: '1' });
  });
});
