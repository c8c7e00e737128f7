import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { decode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let chain: string;

beforeAll(async () => {
  expect(existsSync('/sys/fs/cgroup/cgroup.controllers'), 'nothing but cgroups of version 2').toBe(true);
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
});

const memoryLimit = 64 << 20;

async function run(id: string, script: string): Promise<{ pid: number; cgroup: string }> {
  const change = (spec: { linux?: { resources?: object } }): void => {
    Object.assign(spec.linux?.resources ?? {}, { memory: { limit: memoryLimit }, pids: { limit: 50 } });
  };
  await createContainer(suite, { id, chain, args: ['sh', '-c', script], change });
  const { pid } = await suite.clients.tasks.create({ containerId: id });
  await suite.clients.tasks.start({ containerId: id });
  const path = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().replace('0::', '');
  return { pid, cgroup: join('/sys/fs/cgroup', path) };
}

async function end(id: string): Promise<void> {
  const { tasks } = suite.clients;
  await tasks.kill({ containerId: id, signal: 9 }).catch(() => undefined);
  await tasks.wait({ containerId: id });
  await tasks.delete({ containerId: id });
  await removeContainer(suite, id);
}

describe('a container in a cgroup of version 2', () => {
  it('is measured: memory, processor time and processes, with their limits', async () => {
    const { cgroup } = await run(
      'measured',
      'sleep 1000 & sleep 1000 & x=$(head -c 8000000 /dev/zero | tr "\\0" a); wait',
    );
    const metrics = await waitFor('two sleeps and eight megabytes', async () => {
      const { metrics: all } = await suite.clients.tasks.metrics({ filters: ['id==measured'] });
      expect(all[0]?.data?.type_url).toBe('io.containerd.cgroups.v2.Metrics');
      const found = decode('io.containerd.cgroups.v2.Metrics', all[0]?.data?.value ?? Buffer.alloc(0));
      return Number(found.pids?.current) === 3 && Number(found.memory?.usage) > 8_000_000 && found;
    });
    expect(metrics).toMatchObject({ pids: { limit: '50' }, memory: { usageLimit: String(memoryLimit) } });
    expect(Number(metrics.cpu?.usageUsec)).toBeGreaterThan(0);
    expect(Number(metrics.memory?.anon)).toBeGreaterThan(8_000_000);
    expect(readFileSync(join(cgroup, 'memory.max'), 'utf8').trim()).toBe(String(memoryLimit));
    await end('measured');
    expect(existsSync(cgroup)).toBe(false);
  });

  it('takes new limits for everything that version 2 limits', async () => {
    const { cgroup } = await run('limited', 'sleep 1000');
    const resources = {
      memory: { limit: 32 << 20, reservation: 16 << 20 },
      cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0' },
      pids: { limit: 20 },
    };
    const value = Buffer.from(JSON.stringify(resources));
    const type = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
    await suite.clients.tasks.update({ containerId: 'limited', resources: { type_url: type, value } });
    const file = (name: string): string => readFileSync(join(cgroup, name), 'utf8').trim();
    expect([file('memory.max'), file('memory.low'), file('cpu.max'), file('pids.max'), file('cpuset.cpus')]).toEqual([
      String(32 << 20),
      String(16 << 20),
      '50000 100000',
      '20',
      '0',
    ]);
    await end('limited');
  });

  it('tells of a kill for want of memory before the exit, and of one that init survives', async () => {
    const { events } = suite.clients;
    const stop = new AbortController();
    const topics: string[] = [];
    const filters = ['topic=="/tasks/oom"', 'topic=="/tasks/exit"'];
    const reading = (async () => {
      for await (const { topic } of events.subscribe({ filters }, { signal: stop.signal })) topics.push(topic);
    })().catch(() => undefined);
    const hog = 'sh -c "x=a; while :; do x=\\$x\\$x; done"';
    await run('child', `${hog}; sleep 1000`);
    await waitFor('the kill of a child to be told', () => topics.join() === '/tasks/oom');
    expect((await suite.clients.tasks.get({ containerId: 'child' })).process?.status).toBe('RUNNING');
    await end('child');
    await waitFor('the exit to be told', () => topics.length === 2);
    topics.length = 0;
    await run('init', `exec ${hog}`);
    expect(await suite.clients.tasks.wait({ containerId: 'init' })).toMatchObject({ exitStatus: 137 });
    await waitFor('the exit to be told', () => topics.includes('/tasks/exit'));
    expect(topics).toEqual(['/tasks/oom', '/tasks/exit']);
    await end('init');
    stop.abort();
    await reading;
  });

  it('is frozen and thawed by its own file', async () => {
    const { tasks } = suite.clients;
    const { cgroup } = await run('frozen', 'while :; do sleep 0.1; done');
    const isFrozen = (): boolean => readFileSync(join(cgroup, 'cgroup.events'), 'utf8').includes('frozen 1');
    await tasks.pause({ containerId: 'frozen' });
    expect(isFrozen()).toBe(true);
    await tasks.resume({ containerId: 'frozen' });
    expect(isFrozen()).toBe(false);
    await tasks.pause({ containerId: 'frozen' });
    await end('frozen');
  });

  it('leaves no cgroup behind, whatever it made below its own', async () => {
    const { cgroup } = await run('nested', 'sleep 1000');
    expect(readdirSync(join(cgroup, '..'))).toContain('nested');
    await end('nested');
    expect(existsSync(cgroup)).toBe(false);
  });
});
