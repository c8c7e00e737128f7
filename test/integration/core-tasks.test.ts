import { once } from 'node:events';
import { createWriteStream, rmSync } from 'node:fs';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '#common/native/index.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import {
  alive,
  type ContainerOptions,
  createContainer,
  Output,
  processOf,
  removeContainer,
} from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { needsPeer, newerContainerd, type Peer } from '../support/peers.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let chain: string;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  scope = { dir: suite.dir, names: [suite.namespace] };
});

beforeEach(() => {
  clean = leakSnapshot(scope);
});

type Options = Omit<ContainerOptions, 'chain' | 'id'>;

const shims: readonly { name: string; runtime: string; peer?: Peer }[] = [
  { name: 'our shim', runtime: 'io.containerd.runc.v2' },
  { name: "Debian's containerd-shim-runc-v2", runtime: '/usr/bin/containerd-shim-runc-v2' },
  {
    name: "a newer containerd's shim",
    runtime: newerContainerd.command('containerd-shim-runc-v2'),
    peer: newerContainerd,
  },
];

describe.each(shims)('with $name', ({ runtime, peer }) => {
  if (peer !== undefined) needsPeer(peer);

  /** Creates and starts a container, gives it to `body`, and removes what is left of it. */
  async function withContainer(
    id: string,
    options: Options,
    body: (output: Output, pid: number) => Promise<void>,
  ): Promise<void> {
    const { tasks } = suite.clients;
    const terminal = options.terminal ?? false;
    await createContainer(suite, { id, chain, runtime, ...options });
    const output = new Output(suite.dir, id);
    try {
      const { stdout, stderr } = output;
      const { pid } = await tasks.create({ containerId: id, stdout, stderr: terminal ? '' : stderr, terminal });
      await tasks.start({ containerId: id });
      await body(output, pid);
    } finally {
      await tasks.kill({ containerId: id, signal: 9, all: true }).catch(() => undefined);
      await tasks.wait({ containerId: id }).catch(() => undefined);
      await tasks.delete({ containerId: id }).catch(() => undefined);
      output[Symbol.dispose]();
      await removeContainer(suite, id);
    }
  }

  describe('a task', () => {
    it('passes on output and exit code, and shows its states on the way', async () => {
      const { tasks } = suite.clients;
      const args = ['sh', '-c', 'echo out; echo err >&2; sleep 0.2; exit 7'];
      await withContainer('states', { args }, async (output, pid) => {
        expect((await tasks.get({ containerId: 'states' })).process).toMatchObject({
          id: 'states',
          pid,
          status: 'RUNNING',
          stdout: output.stdout,
        });
        expect(await tasks.wait({ containerId: 'states' })).toMatchObject({ exitStatus: 7 });
        const { process: stopped } = await tasks.get({ containerId: 'states' });
        expect(stopped).toMatchObject({ status: 'STOPPED', exitStatus: 7 });
        expect(Math.abs(Number(stopped?.exitedAt?.seconds) - Date.now() / 1000)).toBeLessThan(60);
        expect(await tasks.delete({ containerId: 'states' })).toMatchObject({ exitStatus: 7, pid });
        expect(await output.text()).toEqual({ stdout: 'out\n', stderr: 'err\n' });
        await expect(tasks.get({ containerId: 'states' })).rejects.toMatchObject({ code: 'not_found' });
      });
      await expectNoLeaks(scope, clean);
    });

    it('publishes create, start, exit and delete in this order', async () => {
      const { tasks, events } = suite.clients;
      const stop = new AbortController();
      const filters = [`namespace==${suite.namespace},topic~="^/tasks/"`];
      const topics: string[] = [];
      const reading = (async () => {
        for await (const { topic } of events.subscribe({ filters }, { signal: stop.signal })) topics.push(topic);
      })().catch(() => undefined);
      await withContainer('events', { args: ['true'] }, async () => {
        await tasks.wait({ containerId: 'events' });
      });
      await waitFor('the last event', () => topics.includes('/tasks/delete'));
      stop.abort();
      await reading;
      expect(topics).toEqual(['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
    });

    it('answers every waiter, early and late', async () => {
      const { tasks } = suite.clients;
      await withContainer('waiters', { args: ['sleep', '100'] }, async () => {
        const early = Array.from({ length: 10 }, () => tasks.wait({ containerId: 'waiters' }));
        await tasks.kill({ containerId: 'waiters', signal: 15 });
        await tasks.kill({ containerId: 'waiters', signal: 9 }).catch(() => undefined);
        const exits = await Promise.all(early);
        const late = await tasks.wait({ containerId: 'waiters' });
        for (const exit of exits) expect(exit).toEqual(late);
        expect([137, 143]).toContain(late.exitStatus);
      });
    });

    it('can not be deleted while it runs, nor created twice', async () => {
      const { tasks } = suite.clients;
      await withContainer('running', { args: ['sleep', '100'] }, async () => {
        await expect(tasks.delete({ containerId: 'running' })).rejects.toMatchObject({ code: 'failed_precondition' });
        await expect(tasks.create({ containerId: 'running' })).rejects.toMatchObject({ code: 'already_exists' });
        expect((await tasks.get({ containerId: 'running' })).process?.status).toBe('RUNNING');
      });
    });

    it('of an unknown container is not found, whatever is asked', async () => {
      const { tasks } = suite.clients;
      const containerId = 'nobody';
      const calls = [
        tasks.create({ containerId }),
        tasks.start({ containerId }),
        tasks.get({ containerId }),
        tasks.kill({ containerId, signal: 9 }),
        tasks.delete({ containerId }),
        tasks.wait({ containerId }),
        tasks.listPids({ containerId }),
        tasks.pause({ containerId }),
      ];
      for (const call of calls) {
        await expect(call).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('nobody') });
      }
    });

    it('reads its stdin until it is closed', async () => {
      const { tasks } = suite.clients;
      await createContainer(suite, { id: 'stdin', chain, runtime, args: ['cat'] });
      using output = new Output(suite.dir, 'stdin');
      const stdin = `${output.stdout}-in`;
      native.mkfifo(stdin, 0o600);
      await tasks.create({ containerId: 'stdin', stdin, stdout: output.stdout, stderr: output.stderr });
      await tasks.start({ containerId: 'stdin' });
      const writer = createWriteStream(stdin);
      writer.write('typed\n');
      writer.end();
      await once(writer, 'close');
      rmSync(stdin);
      await tasks.closeIO({ containerId: 'stdin', stdin: true });
      expect(await tasks.wait({ containerId: 'stdin' })).toMatchObject({ exitStatus: 0 });
      await tasks.delete({ containerId: 'stdin' });
      expect(await output.out).toBe('typed\n');
      await removeContainer(suite, 'stdin');
    });

    it('with a terminal has one, of the size it is given', async () => {
      const { tasks } = suite.clients;
      const args = [
        'sh',
        '-c',
        'tty; while [ "$(stty size 2>/dev/null)" != "33 111" ]; do sleep 0.05; done; stty size',
      ];
      await withContainer('terminal', { args, terminal: true }, async (output) => {
        await tasks.resizePty({ containerId: 'terminal', width: 111, height: 33 });
        expect(await tasks.wait({ containerId: 'terminal' })).toMatchObject({ exitStatus: 0 });
        await tasks.delete({ containerId: 'terminal' });
        expect(await output.out).toBe('/dev/pts/0\r\n33 111\r\n');
      });
      await expectNoLeaks(scope, clean);
    });

    it('pauses, resumes and lists its processes', async () => {
      const { tasks } = suite.clients;
      await withContainer('paused', { args: ['sleep', '100'] }, async (_, pid) => {
        await tasks.pause({ containerId: 'paused' });
        expect((await tasks.get({ containerId: 'paused' })).process?.status).toBe('PAUSED');
        await tasks.resume({ containerId: 'paused' });
        expect((await tasks.get({ containerId: 'paused' })).process?.status).toBe('RUNNING');
        expect((await tasks.listPids({ containerId: 'paused' })).processes.map((each) => each.pid)).toEqual([pid]);
      });
    });

    it('whose command does not exist fails to start with a message that names it, and leaves nothing', async () => {
      const { tasks } = suite.clients;
      const id = 'no-command';
      await createContainer(suite, { id, chain, runtime, args: ['/bin/no-such-command'] });
      const failed = tasks.create({ containerId: id }).then(() => tasks.start({ containerId: id }));
      await expect(failed).rejects.toMatchObject({ message: expect.stringContaining('/bin/no-such-command') });
      await tasks.delete({ containerId: id }).catch(() => undefined);
      await removeContainer(suite, id);
      await expectNoLeaks(scope, clean);
    });

    it('of an unknown runtime fails with a message that names it, and leaves nothing', async () => {
      const { tasks } = suite.clients;
      await createContainer(suite, { id: 'odd', chain, args: ['true'], runtime: 'io.containerd.nosuch.v1' });
      await expect(tasks.create({ containerId: 'odd' })).rejects.toMatchObject({
        message: expect.stringContaining('nosuch'),
      });
      await removeContainer(suite, 'odd');
      await expectNoLeaks(scope, clean);
    });

    it('whose specification the runtime refuses fails with the words of the runtime, and leaves nothing', async () => {
      const { tasks } = suite.clients;
      const change: ContainerOptions['change'] = (spec) => {
        spec.mounts?.push({ destination: '/x', type: 'bind', source: '/no/such/source', options: ['rbind'] });
      };
      await createContainer(suite, { id: 'refused', chain, runtime, args: ['true'], change });
      await expect(tasks.create({ containerId: 'refused' })).rejects.toMatchObject({
        message: expect.stringContaining('/no/such/source'),
      });
      await removeContainer(suite, 'refused');
      await expectNoLeaks(scope, clean);
    });

    it('that ends at once keeps its exit code, twelve at a time', async () => {
      const ids = Array.from({ length: 12 }, (_, index) => `quick-${index}`);
      await Promise.all(
        ids.map((id, index) =>
          withContainer(id, { args: ['sh', '-c', `echo ${id}; exit ${index}`] }, async (output) => {
            expect(await suite.clients.tasks.wait({ containerId: id })).toMatchObject({ exitStatus: index });
            await suite.clients.tasks.delete({ containerId: id });
            expect(await output.out).toBe(`${id}\n`);
          }),
        ),
      );
      await expectNoLeaks(scope, clean);
    });
  });

  describe('an exec', () => {
    const containerId = 'host';

    async function exec(execId: string, args: readonly string[]): Promise<{ exitStatus: number; stdout: string }> {
      const { tasks } = suite.clients;
      using output = new Output(suite.dir, execId);
      const spec = packJson(typeUrls.process, processOf(args));
      await tasks.exec({ containerId, execId, spec, stdout: output.stdout, stderr: output.stderr });
      const exit = tasks.wait({ containerId, execId });
      await tasks.start({ containerId, execId });
      const { exitStatus } = await exit;
      await tasks.deleteProcess({ containerId, execId });
      return { exitStatus, stdout: await output.out };
    }

    it('runs beside the first process, with output and exit code of its own', async () => {
      await withContainer(containerId, { args: ['sleep', '100'] }, async (_, pid) => {
        expect(await exec('e1', ['sh', '-c', 'hostname; exit 3'])).toEqual({ exitStatus: 3, stdout: 'test\n' });
        const many = await Promise.all(
          Array.from({ length: 5 }, (_, index) => exec(`m${index}`, ['echo', `${index}`])),
        );
        expect(many.map(({ stdout }) => stdout)).toEqual(['0\n', '1\n', '2\n', '3\n', '4\n']);
        expect(alive(pid)).toBe(true);
        await expect(suite.clients.tasks.get({ containerId, execId: 'e1' })).rejects.toMatchObject({
          code: 'not_found',
        });
      });
      await expectNoLeaks(scope, clean);
    });

    it('of a missing command fails with a message that names it, and the container goes on', async () => {
      await withContainer(containerId, { args: ['sleep', '100'] }, async (_, pid) => {
        const { tasks } = suite.clients;
        const spec = packJson(typeUrls.process, processOf(['no-such-command']));
        await tasks.exec({ containerId, execId: 'bad', spec });
        await expect(tasks.start({ containerId, execId: 'bad' })).rejects.toMatchObject({
          message: expect.stringContaining('no-such-command'),
        });
        await tasks.deleteProcess({ containerId, execId: 'bad' }).catch(() => undefined);
        expect(alive(pid)).toBe(true);
      });
      await expectNoLeaks(scope, clean);
    });

    it('needs an id that is free', async () => {
      await withContainer(containerId, { args: ['sleep', '100'] }, async () => {
        const { tasks } = suite.clients;
        const spec = packJson(typeUrls.process, processOf(['true']));
        await tasks.exec({ containerId, execId: 'same', spec });
        await expect(tasks.exec({ containerId, execId: 'same', spec })).rejects.toMatchObject({
          code: 'already_exists',
        });
        await tasks.deleteProcess({ containerId, execId: 'same' });
      });
    });

    it('dies with the container', async () => {
      await withContainer(containerId, { args: ['sleep', '100'] }, async () => {
        const { tasks } = suite.clients;
        const spec = packJson(typeUrls.process, processOf(['sleep', '100']));
        await tasks.exec({ containerId, execId: 'long', spec });
        await tasks.start({ containerId, execId: 'long' });
        const exit = tasks.wait({ containerId, execId: 'long' });
        await tasks.kill({ containerId, signal: 9 });
        expect(await exit).toMatchObject({ exitStatus: 137 });
        expect(await tasks.wait({ containerId })).toMatchObject({ exitStatus: 137 });
      });
      await expectNoLeaks(scope, clean);
    });
  });
});
