import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { alive } from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { pretenceShim } from '../support/pretence-shim.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let runtime: string;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(() => {
  runtime = pretenceShim(suite.dir);
  scope = { dir: suite.dir, names: [suite.namespace] };
  clean = leakSnapshot(scope);
});

/** Calls wait for the daemon's return. */
const patient = { waitForReady: true, timeoutMs: 30_000 };
const sandboxer = 'shim';
const bundleOf = (id: string) =>
  join(suite.berthd.state, 'io.containerd.sandbox.controller.v1.shim', suite.namespace, id);

async function create(id: string, annotations: Readonly<Record<string, string>> = {}): Promise<void> {
  const { sandboxes, sandboxController } = suite.clients;
  const { sandbox } = await sandboxes.create({ sandbox: { sandboxId: id, sandboxer, runtime: { name: runtime } } });
  const options = { type_url: 'options', value: Buffer.from('x') };
  const netnsPath = '/run/netns/x';
  const request = { sandboxId: id, sandboxer, sandbox, options, netnsPath, annotations: { ...annotations } };
  expect(await sandboxController.create(request)).toEqual({ sandboxId: id });
}

async function run(id: string): Promise<number> {
  await create(id);
  const { pid } = await suite.clients.sandboxController.start({ sandboxId: id, sandboxer });
  return pid;
}

async function remove(id: string): Promise<void> {
  await suite.clients.sandboxController.shutdown({ sandboxId: id, sandboxer }, patient).catch(() => undefined);
  await suite.clients.sandboxes.delete({ sandboxId: id }).catch(() => undefined);
}

async function stateOf(id: string): Promise<string> {
  return (await suite.clients.sandboxController.status({ sandboxId: id, sandboxer }, patient)).state;
}

async function runTask(id: string, sandbox: string): Promise<void> {
  const spec = packJson(typeUrls.spec, { process: { args: ['true'] } });
  await suite.clients.containers.create({ container: { id, sandbox, runtime: { name: runtime }, spec } });
  await suite.clients.tasks.create({ containerId: id });
  await suite.clients.tasks.start({ containerId: id });
}

afterEach(async () => {
  const { list } = await suite.clients.sandboxes.list({}, patient);
  for (const { sandboxId } of list) await remove(sandboxId);
  await expectNoLeaks(scope, clean);
});

describe('a sandbox of a shim', () => {
  it('is created, started, asked, stopped and shut down, and the world hears of it', async () => {
    const { sandboxController: controller, events } = suite.clients;
    const topics: string[] = [];
    const listening = (async () => {
      for await (const { topic, event } of events.subscribe({ filters: ['topic~="^/sandboxes/"'] })) {
        topics.push(topic);
        if (topic === '/sandboxes/exit') return decode('containerd.events.SandboxExit', event?.value as Buffer);
      }
      return undefined;
    })();
    await create('whole', { a: 'b' });
    const id = { sandboxId: 'whole', sandboxer };
    const { state, info, pid } = await controller.status({ ...id, verbose: true });
    expect(state).toBe('created');
    expect(JSON.parse(info.request ?? '')).toEqual({
      ...{ sandboxId: 'whole', bundlePath: bundleOf('whole'), netnsPath: '/run/netns/x' },
      ...{ annotations: { a: 'b' }, rootfs: 0, options: 'options' },
    });
    expect(await controller.start(id)).toMatchObject({ sandboxId: 'whole', pid, createdAt: expect.anything() });
    expect(await controller.status(id)).toMatchObject({ state: 'running', info: {} });
    expect((await controller.platform(id)).platform).toMatchObject({ os: 'linux', architecture: 'riscv64' });
    expect((await controller.metrics(id)).metrics).toMatchObject({ id: 'whole' });
    const { sandbox } = await suite.clients.sandboxes.get({ sandboxId: 'whole' });
    expect(await controller.update({ ...id, sandbox })).toEqual({});
    const waiting = controller.wait(id);
    await controller.stop({ ...id, timeoutSecs: 7 });
    expect(await waiting).toMatchObject({ exitStatus: 5 });
    expect(await stateOf('whole')).toBe('stopped in 7');
    expect(await listening).toMatchObject({ sandboxId: 'whole', exitStatus: 5 });
    expect(topics).toEqual(['/sandboxes/create', '/sandboxes/start', '/sandboxes/exit']);
    await controller.shutdown(id);
    expect(alive(pid)).toBe(false);
    expect(existsSync(bundleOf('whole'))).toBe(false);
    expect(await controller.status(id)).toMatchObject({ sandboxId: 'whole', state: '', pid: 0 });
    expect(await controller.stop(id)).toEqual({});
    for (const call of [controller.shutdown(id), controller.wait(id), controller.start(id), controller.metrics(id)]) {
      await expect(call).rejects.toMatchObject({ code: 'not_found' });
    }
  });

  it('leaves nothing when it cannot be created or started', async () => {
    const { sandboxController: controller } = suite.clients;
    await expect(create('no-create', { fail: 'create' })).rejects.toMatchObject({
      message: expect.stringMatching(/failed to create sandbox no-create.*told to fail/),
    });
    await create('no-start', { fail: 'start' });
    await expect(controller.start({ sandboxId: 'no-start', sandboxer })).rejects.toMatchObject({
      message: expect.stringMatching(/failed to start sandbox no-start.*told to fail/),
    });
    for (const id of ['no-create', 'no-start']) expect(existsSync(bundleOf(id)), id).toBe(false);
    await expectNoLeaks(scope, clean);
  });

  it('is refused when it runs already, has a shim without the API, or a controller that is not here', async () => {
    const { sandboxController: controller } = suite.clients;
    await run('once');
    const again = { sandboxId: 'once', sandboxer, sandbox: { sandboxId: 'once', runtime: { name: runtime } } };
    await expect(controller.create(again)).rejects.toMatchObject({ code: 'already_exists' });
    const cases = [
      ['unimplemented', { sandboxer, sandbox: { sandboxId: 'x', runtime: { name: 'io.containerd.runc.v2' } } }],
      ['failed_precondition', { sandboxer, sandbox: { sandboxId: 'x', runtime: { name: 'io.containerd.none.v1' } } }],
      ['invalid_argument', { sandboxer, sandbox: { sandboxId: 'x' } }],
      ['invalid_argument', { sandboxer, sandbox: { sandboxId: 'y', runtime: { name: runtime } } }],
      ['not_found', { sandboxer }],
      ['not_found', { sandboxer: 'podsandbox' }],
      ['not_found', { sandboxer: 'other' }],
      ['invalid_argument', { sandboxer: '' }],
    ] as const;
    for (const [code, request] of cases) {
      await expect(controller.create({ sandboxId: 'x', ...request }), JSON.stringify(request)).rejects.toMatchObject({
        code,
      });
    }
    const outside = { sandboxId: '../x', sandboxer, sandbox: { sandboxId: '../x', runtime: { name: runtime } } };
    await expect(controller.create(outside)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('holds tasks in its shim, which goes on without them', async () => {
    const { tasks, containers } = suite.clients;
    const pid = await run('pod');
    await runTask('one', 'pod');
    await runTask('two', 'pod');
    expect((await tasks.list({})).tasks).toMatchObject([
      { id: 'one', pid, status: 'RUNNING' },
      { id: 'two', pid, status: 'RUNNING' },
    ]);
    await suite.berthd.daemon.restartAfterKill9();
    const waiting = tasks.wait({ containerId: 'one' }, patient);
    await tasks.kill({ containerId: 'one', signal: 9 }, patient);
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    expect(await tasks.delete({ containerId: 'one' })).toMatchObject({ exitStatus: 137 });
    expect(await stateOf('pod')).toBe('running');
    await suite.clients.sandboxController.shutdown({ sandboxId: 'pod', sandboxer });
    await waitFor('the other task to end', async () => {
      return (await tasks.get({ containerId: 'two' })).process?.status === 'STOPPED';
    });
    await tasks.delete({ containerId: 'two' });
    await containers.delete({ id: 'one' });
    await expect(tasks.create({ containerId: 'two' })).rejects.toMatchObject({ code: 'not_found' });
    await containers.delete({ id: 'two' });
  });

  it('goes on while the daemon is away, and one that ends meanwhile is cleared away', async () => {
    const { sandboxController: controller } = suite.clients;
    const kept = await run('kept');
    const ended = await run('ended');
    await suite.berthd.daemon.kill9();
    process.kill(ended, 'SIGKILL');
    await waitFor('its end', () => !alive(ended));
    await suite.berthd.daemon.start();
    expect(await controller.status({ sandboxId: 'kept', sandboxer }, patient)).toMatchObject({
      pid: kept,
      state: 'running',
    });
    expect(await stateOf('ended')).toBe('');
    expect(existsSync(bundleOf('ended'))).toBe(false);
    const { list } = await suite.clients.sandboxes.list({ filters: ['id==ended'] });
    expect(list).toMatchObject([{ sandboxId: 'ended', runtime: { name: runtime } }]);
  });

  it('is told of as ended when its shim dies', async () => {
    const pid = await run('dying');
    const stop = new AbortController();
    const filters = ['topic=="/tasks/exit",event.container_id==dying'];
    const first = suite.clients.events.subscribe({ filters }, { signal: stop.signal }).next();
    const waiting = suite.clients.sandboxController.wait({ sandboxId: 'dying', sandboxer });
    waiting.catch(() => undefined);
    process.kill(pid, 'SIGKILL');
    await expect(waiting).rejects.toMatchObject({ code: 'unavailable' });
    expect((await first).value).toMatchObject({ topic: '/tasks/exit', namespace: suite.namespace });
    stop.abort();
    expect(await stateOf('dying')).toBe('');
    await suite.clients.sandboxController.create({ sandboxId: 'dying', sandboxer });
  });
});
