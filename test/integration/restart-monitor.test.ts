import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive, createContainer, removeContainer } from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd({
  config: (dir) => {
    const path = join(dir, 'berthd.toml');
    writeFileSync(path, '[restart]\ninterval = "100ms"\n');
    return path;
  },
});
let chain: string;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  scope = { dir: suite.dir, names: [suite.namespace] };
  clean = leakSnapshot(scope);
});

/** Calls wait for the daemon's return. */
const patient = { waitForReady: true, timeoutMs: 30_000 };
const prefix = 'containerd.io/restart';
const made = new Set<string>();

/** A container whose labels say `running` and what is given. */
async function create(id: string, script: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
  const prefixed = Object.entries({ status: 'running', ...labels }).map(([name, text]) => [`${prefix}.${name}`, text]);
  await createContainer(suite, { id, chain, args: ['sh', '-c', script], labels: Object.fromEntries(prefixed) });
  made.add(id);
}

async function run(id: string): Promise<number> {
  const { pid } = await suite.clients.tasks.create({ containerId: id });
  await suite.clients.tasks.start({ containerId: id });
  return pid;
}

async function labelsOf(id: string): Promise<Readonly<Record<string, string>>> {
  const { container } = await suite.clients.containers.get({ id }, patient);
  return container?.labels ?? {};
}

async function label(id: string, name: string, value: string): Promise<void> {
  const container = { id, labels: { [`${prefix}.${name}`]: value } };
  await suite.clients.containers.update({ container, updateMask: { paths: [`labels.${prefix}.${name}`] } }, patient);
}

async function stateOf(id: string): Promise<{ readonly pid: number; readonly status: string } | undefined> {
  try {
    const { process } = await suite.clients.tasks.get({ containerId: id }, patient);
    return process ?? undefined;
  } catch {
    return undefined;
  }
}

/** The pid of a running task that isn't `before`. */
async function successor(id: string, before: number): Promise<number> {
  let pid = 0;
  await waitFor(`another task of ${id}`, async () => {
    const state = await stateOf(id);
    pid = state?.pid ?? 0;
    return state?.status === 'RUNNING' && pid !== before;
  });
  return pid;
}

/** When this container has been restarted, every look at the others before it has been taken. */
async function oneMoreLook(): Promise<void> {
  for (const id of ['look-1', 'look-2']) {
    await create(id, 'exec sleep 1000');
    await successor(id, 0);
    await remove(id);
  }
}

async function remove(id: string): Promise<void> {
  const { tasks } = suite.clients;
  await label(id, 'status', 'stopped');
  await waitFor(`${id} to stop`, async () => ((await stateOf(id))?.status ?? 'STOPPED') === 'STOPPED');
  await tasks.delete({ containerId: id }).catch(() => undefined);
  await removeContainer(suite, id);
  made.delete(id);
}

afterEach(async () => {
  for (const id of [...made]) await remove(id);
  await expectNoLeaks(scope, clean);
});

describe('the restart monitor', () => {
  it('starts a container again whose task was killed, with its output where the labels say', async () => {
    const log = join(suite.dir, 'output');
    await create('always', 'echo run; exec sleep 1000', { loguri: `file://${log}` });
    // Killed before it has said so, a run would leave no trace.
    const runs = (count: number) =>
      waitFor(`run ${count}`, () => existsSync(log) && readFileSync(log, 'utf8') === 'run\n'.repeat(count));
    const first = await successor('always', 0);
    await runs(1);
    expect(await labelsOf('always')).toMatchObject({ [`${prefix}.count`]: '1' });
    process.kill(first, 'SIGKILL');
    const second = await successor('always', first);
    await runs(2);
    expect(await labelsOf('always')).toMatchObject({ [`${prefix}.count`]: '2' });
    await suite.clients.tasks.kill({ containerId: 'always', signal: 9 });
    await successor('always', second);
    await runs(3);
  });

  it('starts one again that fails, as often as it was told', async () => {
    await create('failing', 'exit 5', { policy: 'on-failure:2' });
    await run('failing');
    await waitFor('two restarts', async () => (await labelsOf('failing'))[`${prefix}.count`] === '2');
    await waitFor('the last end', async () => (await stateOf('failing'))?.status === 'STOPPED');
    await oneMoreLook();
    expect(await labelsOf('failing')).toMatchObject({ [`${prefix}.count`]: '2' });
    await create('fine', 'exit 0', { policy: 'on-failure' });
    await run('fine');
    await waitFor('its end', async () => (await stateOf('fine'))?.status === 'STOPPED');
    await oneMoreLook();
    expect(await labelsOf('fine')).not.toHaveProperty([`${prefix}.count`]);
  });

  it('lets those alone that were stopped on purpose, are paused, or whose labels it does not understand', async () => {
    await create('stopped', 'exec sleep 1000', { policy: 'unless-stopped', 'explicitly-stopped': 'true' });
    await create('odd', 'exec sleep 1000', { policy: 'sometimes' });
    await create('paused', 'exec sleep 1000');
    const pid = await successor('paused', 0);
    await suite.clients.tasks.pause({ containerId: 'paused' });
    await oneMoreLook();
    expect(await stateOf('stopped')).toBeUndefined();
    expect(await stateOf('odd')).toBeUndefined();
    expect(await stateOf('paused')).toMatchObject({ pid, status: 'PAUSED' });
    await suite.clients.tasks.resume({ containerId: 'paused' });
  });

  it('ends the task of one that is to be stopped', async () => {
    await create('ending', 'exec sleep 1000');
    const pid = await successor('ending', 0);
    await label('ending', 'status', 'stopped');
    await waitFor('its end', () => !alive(pid));
    await waitFor('its task to be gone', async () => (await stateOf('ending')) === undefined);
  });

  it('tells clients which policies it knows', async () => {
    const { plugins } = await suite.clients.introspection.plugins({ filters: ['id==restart'] });
    expect(plugins.map(({ capabilities }) => capabilities)).toEqual([['no', 'always', 'on-failure', 'unless-stopped']]);
  });

  it('gives a container a terminal that asks for one', async () => {
    const args = ['sh', '-c', 'test -t 0 && exec sleep 1000'];
    const labels = { [`${prefix}.status`]: 'running' };
    await createContainer(suite, { id: 'terminal', chain, args, labels, terminal: true });
    made.add('terminal');
    await successor('terminal', 0);
  });

  it('starts what ended while the daemon was away, and goes on with what did not', async () => {
    await create('survivor', 'exec sleep 1000');
    await create('victim', 'exec sleep 1000');
    const survivor = await successor('survivor', 0);
    const victim = await successor('victim', 0);
    await suite.berthd.daemon.kill9();
    process.kill(victim, 'SIGKILL');
    await waitFor('its end', () => !alive(victim));
    await suite.berthd.daemon.start();
    await successor('victim', victim);
    expect(await stateOf('survivor')).toMatchObject({ pid: survivor, status: 'RUNNING' });
    expect(await labelsOf('survivor')).toMatchObject({ [`${prefix}.count`]: '1' });
  });
});
