import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive, createContainer, removeContainer } from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { shimProcesses } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
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

const bundleOf = (id: string) => join(suite.berthd.state, 'io.containerd.runtime.v2.task', suite.namespace, id);

/** Ids of the containers whose shims are alive. */
function shims(): string[] {
  return shimProcesses(suite.namespace)
    .map(({ id }) => id)
    .sort();
}

async function tasksNow(): Promise<string[]> {
  return (await suite.clients.tasks.list({}, patient)).tasks.map(({ id }) => id).sort();
}

async function run(id: string, command: string): Promise<number> {
  await createContainer(suite, { id, chain, args: ['sh', '-c', command] });
  const { pid } = await suite.clients.tasks.create({ containerId: id });
  await suite.clients.tasks.start({ containerId: id });
  return pid;
}

/** Ends what there is of a container, in whatever state, and removes it. */
async function remove(id: string): Promise<void> {
  const { tasks } = suite.clients;
  const found = await tasks.get({ containerId: id }, patient).then(
    ({ process }) => process?.status,
    () => undefined,
  );
  if (found !== undefined) {
    if (found !== 'STOPPED') await tasks.kill({ containerId: id, signal: 9, all: true });
    await tasks.wait({ containerId: id });
    await tasks.delete({ containerId: id });
  }
  await removeContainer(suite, id);
}

/** Looks as often as it can, so that the daemon is caught between two of its steps. */
async function moment(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

describe('a kill -9 of the core daemon', () => {
  const points: [string, (id: string) => boolean][] = [
    ['when the bundle has been made', (id) => existsSync(bundleOf(id))],
    ['when the shim is about to be started', (id) => existsSync(join(bundleOf(id), 'shim-binary-path'))],
    ['when the shim has come up', (id) => shims().includes(id)],
    ['when the shim has told its address', (id) => existsSync(join(bundleOf(id), 'bootstrap.json'))],
    ['when the OCI runtime has made the container', (id) => existsSync(join(bundleOf(id), 'init.pid'))],
    ['when the shim has acknowledged', (id) => existsSync(join(bundleOf(id), 'created'))],
  ];

  it.each(points)('%s of a create leaves as many shims as tasks, and the id usable', async (point, reached) => {
    const { tasks } = suite.clients;
    const id = `create-${points.findIndex(([name]) => name === point)}`;
    await createContainer(suite, { id, chain, args: ['sleep', '100'] });
    const answer = tasks.create({ containerId: id }).then(
      () => 'created',
      () => 'failed',
    );
    await moment(() => reached(id));
    await suite.berthd.daemon.restartAfterKill9();

    await waitFor('shims and tasks to agree', async () => `${shims()}` === `${await tasksNow()}`);
    if ((await answer) === 'created') expect(await tasksNow()).toContain(id);
    if (!(await tasksNow()).includes(id)) {
      await tasks.create({ containerId: id }, patient);
      await tasks.start({ containerId: id });
    }
    await remove(id);
    await expectNoLeaks(scope, clean);
  });

  it('during a delete leaves a task that can be deleted, or none', async () => {
    const { tasks } = suite.clients;
    for (const [index, gone] of ['created', 'bootstrap.json', ''].entries()) {
      const id = `delete-${index}`;
      await run(id, 'exit 4');
      await tasks.wait({ containerId: id });
      const answer = tasks.delete({ containerId: id }).catch(() => undefined);
      await moment(() => !existsSync(join(bundleOf(id), gone)));
      await suite.berthd.daemon.restartAfterKill9();
      expect((await answer)?.exitStatus ?? 4).toBe(4);
      await waitFor('shims and tasks to agree', async () => `${shims()}` === `${await tasksNow()}`);
      await remove(id);
    }
    await expectNoLeaks(scope, clean);
  });

  it('with twenty containers keeps those that run and knows how the others ended', async () => {
    const { tasks } = suite.clients;
    const ids = Array.from({ length: 20 }, (_, index) => `many-${index}`);
    const running = ids.filter((_, index) => index % 2 === 0);
    const gate = join(suite.dir, 'gate');
    mkdirSync(gate, { recursive: true });
    const pids = new Map<string, number>();
    for (const [index, id] of ids.entries()) {
      const command = running.includes(id) ? 'sleep 100' : `until [ -e /gate/open ]; do sleep 0.1; done; exit ${index}`;
      const change = (spec: { mounts?: unknown[] }) =>
        spec.mounts?.push({ destination: '/gate', type: 'bind', source: gate, options: ['rbind', 'ro'] });
      await createContainer(suite, { id, chain, args: ['sh', '-c', command], change });
      pids.set(id, (await tasks.create({ containerId: id })).pid);
      await tasks.start({ containerId: id });
    }
    const waits = new Map(ids.map((id) => [id, tasks.wait({ containerId: id }).catch(() => undefined)]));
    await suite.berthd.daemon.kill9();
    await Promise.all(waits.values());
    writeFileSync(join(gate, 'open'), '');
    for (const id of ids) if (!running.includes(id)) await waitFor(`${id} to end`, () => !alive(pids.get(id) ?? 0));
    await suite.berthd.daemon.start();

    expect(await tasksNow()).toEqual([...ids].sort());
    expect(shims()).toEqual([...ids].sort());
    for (const [index, id] of ids.entries()) {
      const { process } = await tasks.get({ containerId: id }, patient);
      if (running.includes(id)) expect(process).toMatchObject({ status: 'RUNNING', pid: pids.get(id) });
      else {
        expect(process).toMatchObject({ status: 'STOPPED', exitStatus: index });
        expect(await tasks.wait({ containerId: id })).toMatchObject({ exitStatus: index });
      }
    }
    await Promise.all(ids.map(remove));
    expect(shims()).toEqual([]);
    await expectNoLeaks(scope, clean);
  });

  it('forgets no exit that it had heard of, even if the shim is killed as well', async () => {
    const { tasks } = suite.clients;
    await run('heard', 'exit 9');
    await tasks.wait({ containerId: 'heard' });
    await waitFor('the exit to be noted', () => existsSync(join(bundleOf('heard'), 'exit.json')));
    await suite.berthd.daemon.kill9();
    killShim('heard');
    for (let round = 0; round < 2; round++) {
      await suite.berthd.daemon.restartAfterKill9();
      expect((await tasks.get({ containerId: 'heard' }, patient)).process).toMatchObject({
        status: 'STOPPED',
        exitStatus: 9,
      });
    }
    expect(await tasks.delete({ containerId: 'heard' })).toMatchObject({ exitStatus: 9 });
    await removeContainer(suite, 'heard');
    await expectNoLeaks(scope, clean);
  });
});

function killShim(id: string, signal: NodeJS.Signals = 'SIGKILL'): void {
  for (const shim of shimProcesses(suite.namespace)) {
    if (shim.id === id) process.kill(shim.pid, signal);
  }
}

describe('a stop of the core daemon', () => {
  it('tells everybody who waits for a process or an event that it is going', async () => {
    const { tasks, events } = suite.clients;
    await run('waited-for', 'sleep 100');
    const stopping = { code: 'unavailable', message: expect.stringContaining('stopping') };
    const wait = expect(tasks.wait({ containerId: 'waited-for' })).rejects.toMatchObject(stopping);
    const event = expect(events.subscribe({ filters: ['topic=="/no/such"'] }).next()).rejects.toMatchObject(stopping);
    // Both calls have reached the daemon when a later one has been answered.
    await tasks.get({ containerId: 'waited-for' });
    await suite.berthd.daemon.restart();
    await Promise.all([wait, event]);
    expect((await tasks.get({ containerId: 'waited-for' }, patient)).process).toMatchObject({ status: 'RUNNING' });
    await remove('waited-for');
    await expectNoLeaks(scope, clean);
  });
});

describe('a start of the core daemon', () => {
  it('is not held up by a shim that hangs, and does not touch its container', async () => {
    const { tasks } = suite.clients;
    const pid = await run('hangs', 'sleep 100');
    await run('fine', 'sleep 100');
    await suite.berthd.daemon.kill9();
    killShim('hangs', 'SIGSTOP');
    await suite.berthd.daemon.start();
    expect((await tasks.get({ containerId: 'fine' }, patient)).process).toMatchObject({ status: 'RUNNING' });
    await expect(tasks.get({ containerId: 'hangs' })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(alive(pid)).toBe(true);
    killShim('hangs', 'SIGCONT');
    expect((await tasks.get({ containerId: 'hangs' })).process).toMatchObject({ status: 'RUNNING', pid });
    await remove('hangs');
    await remove('fine');
    await expectNoLeaks(scope, clean);
  });

  it('sweeps an ended task whose container nobody knows, and keeps one that runs', async () => {
    const { tasks, containers, snapshots } = suite.clients;
    await run('ended', 'exit 0');
    await tasks.wait({ containerId: 'ended' });
    await run('runs', 'sleep 100');
    for (const id of ['ended', 'runs']) await containers.delete({ id });
    await suite.berthd.daemon.restartAfterKill9();
    await waitFor('the sweep', async () => `${shims()}` === 'runs' && `${await tasksNow()}` === 'runs');
    await tasks.kill({ containerId: 'runs', signal: 9 });
    expect(await tasks.wait({ containerId: 'runs' })).toMatchObject({ exitStatus: 137 });
    await tasks.delete({ containerId: 'runs' });
    for (const key of ['ended', 'runs']) await snapshots.remove({ snapshotter: 'overlayfs', key });
    await expectNoLeaks(scope, clean);
  });
});

describe('a shim that dies', () => {
  it('is told of by one exit event, answers everybody who waits, and its exec is gone', async () => {
    const { tasks, events } = suite.clients;
    const stop = new AbortController();
    const seen: string[] = [];
    const filters = ['topic=="/tasks/exit"', 'topic=="/tasks/delete"'];
    const reading = (async () => {
      for await (const { topic } of events.subscribe({ filters }, { signal: stop.signal })) seen.push(topic);
    })().catch(() => undefined);
    const pid = await run('dies', 'sleep 100');
    const waits = [1, 2, 3].map(() => tasks.wait({ containerId: 'dies' }));
    killShim('dies');
    for (const exit of await Promise.all(waits)) expect(exit).toMatchObject({ exitStatus: 137 });
    expect(alive(pid)).toBe(false);
    expect((await tasks.get({ containerId: 'dies' })).process).toMatchObject({ status: 'STOPPED', exitStatus: 137 });
    const missing = { code: 'not_found' };
    await expect(tasks.kill({ containerId: 'dies', signal: 9 })).rejects.toMatchObject(missing);
    await expect(tasks.get({ containerId: 'dies', execId: 'x' })).rejects.toMatchObject(missing);
    await expect(tasks.start({ containerId: 'dies' })).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(tasks.create({ containerId: 'dies' })).rejects.toMatchObject({ code: 'already_exists' });
    expect(await tasks.delete({ containerId: 'dies' })).toMatchObject({ exitStatus: 137 });
    await expect(tasks.get({ containerId: 'dies' })).rejects.toMatchObject(missing);
    await waitFor('the events', () => seen.length === 2);
    expect(seen).toEqual(['/tasks/exit', '/tasks/delete']);
    stop.abort();
    await reading;
    await removeContainer(suite, 'dies');
    await expectNoLeaks(scope, clean);
  });
});
