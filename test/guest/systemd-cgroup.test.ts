import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { type ContainerOptions, createContainer, processOf, removeContainer } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let chain: string;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
});

/** A property of a unit, as the guest's systemd has it. */
function property(unit: string, name: string): string {
  return execFileSync('systemctl', ['show', '--value', '--property', name, unit], { encoding: 'utf8' }).trim();
}

describe.each(['runc', 'crun'])('systemd as the driver of cgroups, with %s', (binaryName) => {
  const slice = `berthtest${binaryName}.slice`;
  const id = `scope-${binaryName}`;
  const scope = `cri-containerd-${id}.scope`;
  const options = {
    type_url: typeUrls.runcOptions,
    value: Buffer.from(encode('containerd.runc.v1.Options', { binaryName, systemdCgroup: true })),
  };

  /** Gives a container with the script to `body`, and removes what is left of it. `cgroup` is its scope's folder. */
  async function withContainer(script: string, body: (pid: number, cgroup: string) => Promise<void>): Promise<void> {
    const { tasks } = suite.clients;
    const change: ContainerOptions['change'] = (spec) => {
      if (spec.linux === undefined) return;
      spec.linux.cgroupsPath = `${slice}:cri-containerd:${id}`;
      spec.linux.resources = { memory: { limit: 64 << 20 }, pids: { limit: 40 } };
    };
    await createContainer(suite, { id, chain, args: ['sh', '-c', script], change });
    try {
      const { pid } = await tasks.create({ containerId: id, options });
      await tasks.start({ containerId: id });
      const path = /^0::(.*\.scope)/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
      await body(pid, join('/sys/fs/cgroup', path));
    } finally {
      await tasks.kill({ containerId: id, signal: 9 }).catch(() => undefined);
      await tasks.wait({ containerId: id }).catch(() => undefined);
      await tasks.delete({ containerId: id }).catch(() => undefined);
      await removeContainer(suite, id);
    }
    await waitFor('the scope to be gone', () => property(scope, 'ActiveState') === 'inactive');
  }

  it('has a scope for the container in the slice that is named, with its limits', async () => {
    const { tasks } = suite.clients;
    let folder = '';
    await withContainer('sleep 1000', async (pid, cgroup) => {
      folder = cgroup;
      const limits = (): string[] => ['memory.max', 'pids.max'].map((file) => told(cgroup, file));
      expect(cgroup).toBe(`/sys/fs/cgroup/${slice}/${scope}`);
      expect(property(scope, 'ActiveState')).toBe('active');
      expect(limits()).toEqual([String(64 << 20), '40']);
      expect((await tasks.listPids({ containerId: id })).processes.map((one) => one.pid)).toEqual([pid]);
      const { metrics } = await tasks.metrics({ filters: [`id==${id}`] });
      const found = decode('io.containerd.cgroups.v2.Metrics', metrics[0]?.data?.value ?? Buffer.alloc(0));
      expect(found).toMatchObject({ pids: { current: '1' }, memory: { usageLimit: String(64 << 20) } });
      const type = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
      const value = Buffer.from(JSON.stringify({ memory: { limit: 32 << 20 } }));
      await tasks.update({ containerId: id, resources: { type_url: type, value } });
      expect(limits()).toEqual([String(32 << 20), '40']);
      if (binaryName !== 'runc') return;
      // systemd knows of runc's limits and writes them again; crun 1.8 sets them behind its back.
      execFileSync('systemctl', ['daemon-reload']);
      expect(limits()).toEqual([String(32 << 20), '40']);
      expect([property(scope, 'MemoryMax'), property(scope, 'TasksMax')]).toEqual([String(32 << 20), '40']);
    });
    expect(existsSync(folder)).toBe(false);
  });

  it('pauses, resumes, and takes execs', async () => {
    const { tasks } = suite.clients;
    await withContainer('sleep 1000', async (_, cgroup) => {
      await tasks.pause({ containerId: id });
      expect(told(cgroup, 'cgroup.events')).toContain('frozen 1');
      await tasks.resume({ containerId: id });
      const spec = packJson(typeUrls.process, processOf(['true']));
      await tasks.exec({ containerId: id, execId: 'probe', spec });
      await tasks.start({ containerId: id, execId: 'probe' });
      expect(await tasks.wait({ containerId: id, execId: 'probe' })).toMatchObject({ exitStatus: 0 });
      await tasks.deleteProcess({ containerId: id, execId: 'probe' });
    });
  });

  it('tells of a kill for want of memory before the exit', async () => {
    const { events, tasks } = suite.clients;
    const stop = new AbortController();
    const topics: string[] = [];
    const filters = ['topic=="/tasks/oom"', 'topic=="/tasks/exit"'];
    const reading = (async () => {
      for await (const { topic } of events.subscribe({ filters }, { signal: stop.signal })) topics.push(topic);
    })().catch(() => undefined);
    await withContainer('x=a; while :; do x=$x$x; done', async () => {
      expect(await tasks.wait({ containerId: id })).toMatchObject({ exitStatus: 137 });
      await waitFor('the exit to be told', () => topics.includes('/tasks/exit'));
      expect(topics).toEqual(['/tasks/oom', '/tasks/exit']);
    });
    stop.abort();
    await reading;
  });

  it('leaves no scope of a container whose command does not exist', async () => {
    const change: ContainerOptions['change'] = (spec) => {
      if (spec.linux !== undefined) spec.linux.cgroupsPath = `${slice}:cri-containerd:${id}`;
    };
    await createContainer(suite, { id, chain, args: ['/nonexistent'], change });
    await expect(suite.clients.tasks.create({ containerId: id, options })).rejects.toThrow(/nonexistent/);
    await removeContainer(suite, id);
    await waitFor('the scope to be gone', () => property(scope, 'ActiveState') === 'inactive');
  });
});

/** What the kernel says of the container: in its scope, or in the cgroup that crun makes below it. */
function told(scope: string, file: string): string {
  const below = join(scope, 'container', file);
  return readFileSync(existsSync(below) ? below : join(scope, file), 'utf8').trim();
}
