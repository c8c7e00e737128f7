import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';
import { isAlive } from '../support/shim-bed.ts';
import { shimProcesses } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd({
  config: (dir) => {
    const path = join(dir, 'berthd.toml');
    writeFileSync(path, '[shim]\nper = "pod"\n');
    return path;
  },
});
let chain: string;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
});

/** Calls wait for the daemon's return. */
const patient = { waitForReady: true, timeoutMs: 30_000 };

async function run(id: string, pod: string): Promise<void> {
  await createContainer(suite, {
    id,
    chain,
    args: ['sleep', '1000'],
    change: (spec) => Object.assign(spec, { annotations: { 'io.kubernetes.cri.sandbox-id': pod } }),
  });
  await suite.clients.tasks.create({ containerId: id });
  await suite.clients.tasks.start({ containerId: id });
}

async function remove(id: string): Promise<void> {
  const { tasks } = suite.clients;
  await tasks.kill({ containerId: id, signal: 9 });
  expect(await tasks.wait({ containerId: id })).toMatchObject({ exitStatus: 137 });
  await tasks.delete({ containerId: id });
  await removeContainer(suite, id);
}

const shims = (): string[] =>
  shimProcesses(suite.namespace)
    .map(({ id }) => id)
    .sort();

describe('berthd with a shim per pod', () => {
  it('runs the containers of a pod in one, made side by side or one after the other', async () => {
    await run('pod', 'pod');
    await Promise.all([run('a', 'pod'), run('b', 'pod'), run('other', 'other')]);
    expect(shims()).toEqual(['other', 'pod']);
  });

  it('finds all of them again after a kill -9', async () => {
    await suite.berthd.daemon.kill9();
    await suite.berthd.daemon.start();
    const { tasks } = await suite.clients.tasks.list({}, patient);
    expect(tasks.map(({ id, status }) => `${id} ${status}`).sort()).toEqual([
      'a RUNNING',
      'b RUNNING',
      'other RUNNING',
      'pod RUNNING',
    ]);
  });

  it('keeps the shim until the last container is deleted', async () => {
    await remove('pod');
    await remove('a');
    expect(shims()).toEqual(['other', 'pod']);
    await run('c', 'pod');
    await remove('b');
    await remove('c');
    await waitFor('the shim to end', () => shims().join() === 'other');
  });

  it('tells the end of every container when their shim dies', async () => {
    await run('d', 'other');
    const [shim] = shimProcesses(suite.namespace);
    process.kill(shim?.pid ?? 0, 'SIGKILL');
    for (const containerId of ['d', 'other']) {
      expect(await suite.clients.tasks.wait({ containerId })).toMatchObject({ exitStatus: 137 });
      const { process: init } = await suite.clients.tasks.get({ containerId });
      expect(isAlive(init?.pid ?? 0)).toBe(false);
      await suite.clients.tasks.delete({ containerId });
      await removeContainer(suite, containerId);
    }
    expect(shims()).toEqual([]);
  });

  it('makes a task at a task API that serves already, which goes on without it', async () => {
    const { tasks } = suite.clients;
    await run('host', 'host');
    const hostShim = shimProcesses(suite.namespace).find(({ id }) => id === 'host');
    const bundle = join(suite.berthd.state, 'io.containerd.runtime.v2.task', suite.namespace, 'host');
    const taskApiAddress = readFileSync(join(bundle, 'address'), 'utf8');
    await createContainer(suite, { id: 'guest', chain, args: ['sleep', '1000'] });
    await tasks.create({ containerId: 'guest', taskApiAddress, taskApiVersion: 3 });
    await tasks.start({ containerId: 'guest' });
    expect(shims()).toEqual(['host']);
    await remove('guest');
    expect(isAlive(hostShim?.pid ?? 0)).toBe(true);
    await remove('host');
    await waitFor('the shim to end', () => shims().length === 0);
  });
});
