import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive, createContainer, Output, processOf, removeContainer } from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { needsPeer, newerContainerd, type Peer } from '../support/peers.ts';
import { pretenceShim } from '../support/pretence-shim.ts';
import { suitCrun } from '../support/suit-crun.ts';
import { waitFor } from '../support/wait-for.ts';

/** containerd's shim of Debian 12, which answers `start` with a bare address and serves task API version 2 only. */
const foreignShim = '/usr/bin/containerd-shim-runc-v2';

const suite = useBerthd();
let chain: string;
let scope: LeakScope;
let clean: LeakSnapshot;
let restoreCgroups = (): void => undefined;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  scope = { dir: suite.dir, names: [suite.namespace] };
  restoreCgroups = suitCrun(suite.dir);
  clean = leakSnapshot(scope);
});
afterAll(() => restoreCgroups());

const patient = { waitForReady: true, timeoutMs: 30_000 };

const own = 'io.containerd.runc.v2';
/** containerd's of 2.x, which answers `start` with JSON and serves task API version 3. */
const newerShim = newerContainerd.command('containerd-shim-runc-v2');

const stacks: readonly { name: string; runtime: string; binaryName: string; peer?: Pick<Peer, 'missing'> }[] = [
  { name: 'our shim with runc', runtime: own, binaryName: 'runc' },
  { name: 'our shim with crun', runtime: own, binaryName: 'crun' },
  { name: "containerd's shim with runc", runtime: foreignShim, binaryName: 'runc' },
  { name: "a newer containerd's shim with runc", runtime: newerShim, binaryName: 'runc', peer: newerContainerd },
  { name: "a newer containerd's shim with crun", runtime: newerShim, binaryName: 'crun', peer: newerContainerd },
  { name: "gVisor's shim", runtime: 'io.containerd.runsc.v1', binaryName: 'runsc', peer: gvisorsShim() },
];

describe.each(stacks)('tasks of $name', ({ name, runtime, binaryName, peer }) => {
  if (peer !== undefined) needsPeer(peer);
  const prefix = `stack-${stacks.findIndex((stack) => stack.name === name)}`;
  const options = {
    type_url: typeUrls.runcOptions,
    value: Buffer.from(encode('containerd.runc.v1.Options', { binaryName })),
  };
  let count = 0;

  async function create(command: string): Promise<{ containerId: string; pid: number; output: Output }> {
    const containerId = `${prefix}-${++count}`;
    await createContainer(suite, { id: containerId, chain, runtime, args: ['sh', '-c', command] });
    const output = new Output(suite.dir, containerId);
    const { stdout, stderr } = output;
    const { pid } = await suite.clients.tasks.create({ containerId, stdout, stderr, options });
    return { containerId, pid, output };
  }

  async function remove({ containerId, output }: { containerId: string; output: Output }): Promise<void> {
    output[Symbol.dispose]();
    await removeContainer(suite, containerId);
  }

  it('go from created over running to stopped, with output and exit code', async () => {
    const { tasks } = suite.clients;
    const task = await create('echo out; echo err >&2; read line; exit 7');
    const { containerId, pid } = task;
    const state = async () => (await tasks.get({ containerId })).process;
    expect(await state()).toMatchObject({ id: containerId, status: 'CREATED', pid });
    expect((await tasks.start({ containerId })).pid).toBe(pid);
    expect(await tasks.wait({ containerId })).toMatchObject({ exitStatus: 7 });
    expect(await state()).toMatchObject({ status: 'STOPPED', exitStatus: 7, pid });
    expect(await tasks.delete({ containerId })).toMatchObject({ exitStatus: 7, pid });
    expect([await task.output.out, await task.output.err]).toEqual(['out\n', 'err\n']);
    await expect(state()).rejects.toMatchObject({ code: 'not_found' });
    await remove(task);
    await expectNoLeaks(scope, clean);
  });

  it('are refused what does not fit their state', async () => {
    const { tasks } = suite.clients;
    const task = await create('sleep 100');
    const { containerId } = task;
    await expect(tasks.create({ containerId, options })).rejects.toMatchObject({ code: 'already_exists' });
    await tasks.start({ containerId });
    await expect(tasks.delete({ containerId })).rejects.toMatchObject({ code: 'failed_precondition' });
    const waiting = tasks.wait({ containerId });
    await tasks.kill({ containerId, signal: 9 });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await expect(tasks.kill({ containerId, signal: 9 })).rejects.toMatchObject({ code: 'not_found' });
    await tasks.delete({ containerId });
    await expect(tasks.delete({ containerId })).rejects.toMatchObject({ code: 'not_found' });
    await remove(task);
    await expectNoLeaks(scope, clean);
  });

  it('go on when a kill is refused, and are killed after that', async () => {
    const { tasks } = suite.clients;
    const task = await create('sleep 100');
    const { containerId } = task;
    await tasks.start({ containerId });
    const waiting = tasks.wait({ containerId });
    const refused = tasks.kill({ containerId, signal: 99 });
    await expect(refused).rejects.toMatchObject({ message: expect.stringMatching(/signal|argument/i) });
    expect((await tasks.get({ containerId })).process).toMatchObject({ status: 'RUNNING' });
    await tasks.kill({ containerId, signal: 9 });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await tasks.delete({ containerId });
    await remove(task);
    await expectNoLeaks(scope, clean);
  });

  it('take further processes, each with its own exit code', async () => {
    const { tasks } = suite.clients;
    const task = await create('sleep 100');
    const { containerId } = task;
    await tasks.start({ containerId });
    const spec = packJson(typeUrls.process, processOf(['sh', '-c', 'exit 3']));
    await tasks.exec({ containerId, execId: 'probe', spec });
    await expect(tasks.exec({ containerId, execId: 'probe', spec })).rejects.toMatchObject({ code: 'already_exists' });
    const waiting = tasks.wait({ containerId, execId: 'probe' });
    await tasks.start({ containerId, execId: 'probe' });
    expect(await waiting).toMatchObject({ exitStatus: 3 });
    expect(await tasks.deleteProcess({ containerId, execId: 'probe' })).toMatchObject({ id: 'probe', exitStatus: 3 });
    const gone = tasks.get({ containerId, execId: 'probe' });
    await expect(gone).rejects.toMatchObject({ code: 'not_found' });
    await tasks.kill({ containerId, signal: 9 });
    await tasks.wait({ containerId });
    await tasks.delete({ containerId });
    await remove(task);
    await expectNoLeaks(scope, clean);
  });

  it('go on while the daemon is away, and are cleared away when their shim dies', async () => {
    const { tasks } = suite.clients;
    const ended = await create('sleep 0.3; exit 5');
    const running = await create('sleep 100');
    for (const { containerId } of [ended, running]) await tasks.start({ containerId });
    await suite.berthd.daemon.kill9();
    await waitFor('the container to end', () => !alive(ended.pid));
    await suite.berthd.daemon.start();
    expect(await tasks.wait({ containerId: ended.containerId }, patient)).toMatchObject({ exitStatus: 5 });
    await tasks.delete({ containerId: ended.containerId });

    const { containerId, pid } = running;
    expect((await tasks.get({ containerId })).process).toMatchObject({ status: 'RUNNING', pid });
    const waiting = tasks.wait({ containerId });
    process.kill(parentOf(pid), 'SIGKILL');
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    expect(alive(pid)).toBe(false);
    await tasks.delete({ containerId });
    await remove(ended);
    await remove(running);
    await expectNoLeaks(scope, clean);
  });
});

describe("a kill that the OCI runtime of containerd's shim refuses", () => {
  it('is told to the client with its reason, and leaves nothing stuck', async () => {
    const { tasks } = suite.clients;
    const containerId = 'refused';
    const runtime = join(suite.dir, 'refusing-runc');
    const policy = join(suite.dir, 'policy');
    const script = `#!/bin/sh
case " $* " in *" kill "*)
  if [ -e ${policy} ]; then
    echo "refused by a policy" >&2
    exit 1
  fi ;;
esac
exec runc "$@"
`;
    writeFileSync(runtime, script, { mode: 0o755 });
    writeFileSync(policy, '');
    const value = Buffer.from(encode('containerd.runc.v1.Options', { binaryName: runtime }));
    await createContainer(suite, { id: containerId, chain, runtime: foreignShim, args: ['sleep', '100'] });
    await tasks.create({ containerId, options: { type_url: typeUrls.runcOptions, value } });
    await tasks.start({ containerId });
    const waiting = tasks.wait({ containerId });
    const kills = await Promise.allSettled([9, 15, 9].map((signal) => tasks.kill({ containerId, signal })));
    for (const kill of kills) {
      expect(kill).toMatchObject({ reason: { message: expect.stringContaining('refused by a policy') } });
    }
    expect((await tasks.get({ containerId })).process).toMatchObject({ status: 'RUNNING' });
    await expect(tasks.delete({ containerId })).rejects.toMatchObject({ code: 'failed_precondition' });
    rmSync(policy);
    await tasks.kill({ containerId, signal: 9 });
    expect(await waiting).toMatchObject({ exitStatus: 137 });
    await tasks.delete({ containerId });
    await removeContainer(suite, containerId);
    rmSync(runtime);
    await expectNoLeaks(scope, clean);
  });
});

/** Debian packages gVisor without its shim. */
function gvisorsShim(): Pick<Peer, 'missing'> {
  const program = 'containerd-shim-runsc-v1';
  const found = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, program)));
  return { missing: found ? undefined : `no ${program} on the PATH` };
}

/** The shim of a container's init process. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

describe('OCI runtime state', () => {
  it("lies below the daemon's own folder, so that a containerd on the machine never meets it", async () => {
    const { tasks } = suite.clients;
    await createContainer(suite, { id: 'apart', chain, args: ['sleep', '100'] });
    await tasks.create({ containerId: 'apart' });
    expect(existsSync(join(suite.berthd.state, 'runc', suite.namespace, 'apart', 'state.json'))).toBe(true);
    await tasks.kill({ containerId: 'apart', signal: 9 });
    await tasks.wait({ containerId: 'apart' });
    await tasks.delete({ containerId: 'apart' });
    await removeContainer(suite, 'apart');
    await expectNoLeaks(scope, clean);
  });
});

describe('a shim that ends without telling', () => {
  it("has its task's exit and delete told in its place, once", async () => {
    const { tasks, events } = suite.clients;
    const id = 'untold';
    const stop = new AbortController();
    const filters = [`namespace==${suite.namespace},topic~="^/tasks/"`];
    const told: unknown[] = [];
    const reading = (async () => {
      for await (const { topic, event } of events.subscribe({ filters }, { signal: stop.signal })) {
        const type = topic === '/tasks/exit' ? 'containerd.events.TaskExit' : 'containerd.events.TaskDelete';
        const { containerId, id, pid, exitStatus } = decode(type, event?.value as Buffer);
        told.push({ topic, containerId, id, pid, exitStatus });
      }
    })().catch(() => undefined);
    await createContainer(suite, { id, chain, runtime: pretenceShim(suite.dir), args: ['true'] });
    const { pid } = await tasks.create({ containerId: id });
    await tasks.start({ containerId: id });
    await tasks.kill({ containerId: id, signal: 9 });
    await tasks.wait({ containerId: id });
    expect(await tasks.delete({ containerId: id })).toMatchObject({ exitStatus: 137, pid });
    await waitFor('the last event', () => told.length >= 2);
    await removeContainer(suite, id);
    stop.abort();
    await reading;
    const end = { containerId: id, id, pid, exitStatus: 137 };
    expect(told).toEqual([
      { topic: '/tasks/exit', ...end },
      { topic: '/tasks/delete', ...end },
    ]);
    await expectNoLeaks(scope, clean);
  });
});
