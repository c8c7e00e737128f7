import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive, createContainer, Output, processOf, removeContainer } from '../support/container.ts';
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
});

beforeEach(() => {
  clean = leakSnapshot(scope);
});

/** Calls wait for the daemon's return. */
const patient = { waitForReady: true, timeoutMs: 30_000 };

async function start(id: string, command: string): Promise<{ output: Output; pid: number }> {
  const { tasks } = suite.clients;
  await createContainer(suite, { id, chain, args: ['sh', '-c', command] });
  const output = new Output(suite.dir, id);
  const { pid } = await tasks.create({ containerId: id, stdout: output.stdout, stderr: output.stderr });
  await tasks.start({ containerId: id });
  return { output, pid };
}

async function remove(id: string, output: Output): Promise<void> {
  await suite.clients.tasks.delete({ containerId: id }, patient);
  output[Symbol.dispose]();
  await removeContainer(suite, id);
}

/** Shims of this suite: process ids by container id. */
function shims(): Map<string, number> {
  return new Map(shimProcesses(suite.namespace).map(({ id, pid }) => [id, pid]));
}

describe('after a kill -9 of the core daemon', () => {
  it('a container that went on is found running, and its exit arrives', async () => {
    const { tasks } = suite.clients;
    const { output, pid } = await start('on', 'trap "exit 5" TERM; echo up; while :; do sleep 0.05; done');
    await suite.berthd.daemon.kill9();
    expect(alive(pid)).toBe(true);
    await suite.berthd.daemon.start();
    expect((await tasks.get({ containerId: 'on' }, patient)).process).toMatchObject({ pid, status: 'RUNNING' });
    const exit = tasks.wait({ containerId: 'on' });
    await tasks.kill({ containerId: 'on', signal: 15 });
    expect(await exit).toMatchObject({ exitStatus: 5 });
    await tasks.delete({ containerId: 'on' });
    expect(await output.out).toBe('up\n');
    output[Symbol.dispose]();
    await removeContainer(suite, 'on');
    await expectNoLeaks(scope, clean);
  });

  it('the exit of a container that ended meanwhile is known, with its output', async () => {
    const { tasks } = suite.clients;
    const { output, pid } = await start('ended', 'sleep 0.4; echo last words; exit 9');
    await suite.berthd.daemon.kill9();
    await waitFor('the container to end', () => !alive(pid));
    await suite.berthd.daemon.start();
    expect(await tasks.wait({ containerId: 'ended' }, patient)).toMatchObject({ exitStatus: 9 });
    expect(await tasks.delete({ containerId: 'ended' })).toMatchObject({ exitStatus: 9 });
    expect(await output.out).toBe('last words\n');
    output[Symbol.dispose]();
    await removeContainer(suite, 'ended');
    await expectNoLeaks(scope, clean);
  });

  it('an exec that went on can be waited for', async () => {
    const { tasks } = suite.clients;
    const { output } = await start('with-exec', 'sleep 100');
    const spec = packJson(typeUrls.process, processOf(['sh', '-c', 'sleep 1; exit 4']));
    const ids = { containerId: 'with-exec', execId: 'x' };
    await tasks.exec({ ...ids, spec });
    await tasks.start(ids);
    await suite.berthd.daemon.restartAfterKill9();
    expect(await tasks.wait(ids, patient)).toMatchObject({ exitStatus: 4 });
    await tasks.deleteProcess(ids);
    await tasks.kill({ containerId: 'with-exec', signal: 9 });
    await tasks.wait({ containerId: 'with-exec' });
    await remove('with-exec', output);
    await expectNoLeaks(scope, clean);
  });

  it('in the middle of a start, what has come of the container can be removed', async () => {
    const { tasks } = suite.clients;
    for (const delay of [0, 20, 40, 60, 80, 100, 130]) {
      const id = `cut-${delay}`;
      await createContainer(suite, { id, chain, args: ['sleep', '100'] });
      const begun = tasks
        .create({ containerId: id })
        .then(() => tasks.start({ containerId: id }))
        .catch(() => undefined);
      await sleep(delay);
      await suite.berthd.daemon.restartAfterKill9();
      await begun;
      await suite.clients.version.version({}, patient);
      await tasks.kill({ containerId: id, signal: 9 }, patient).catch(() => undefined);
      await waitFor('the task to stop', async () => {
        const state = await tasks.get({ containerId: id }).then(
          ({ process }) => process?.status,
          () => 'gone',
        );
        if (state === 'CREATED') await tasks.kill({ containerId: id, signal: 9 }).catch(() => undefined);
        return state === 'STOPPED' || state === 'gone';
      });
      await tasks.delete({ containerId: id }).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'not_found' });
      });
      await removeContainer(suite, id);
    }
    await expectNoLeaks(scope, clean);
  });

  it('there are as many shims as containers', async () => {
    const { tasks } = suite.clients;
    const started = await Promise.all(['s1', 's2', 's3'].map((id) => start(id, 'sleep 100')));
    for (let round = 0; round < 3; round++) await suite.berthd.daemon.restartAfterKill9();
    expect([...shims().keys()].sort()).toEqual(['s1', 's2', 's3']);
    const listed = (await tasks.list({}, patient)).tasks.map(({ id }) => id);
    expect(listed.sort()).toEqual(['s1', 's2', 's3']);
    for (const [index, id] of ['s1', 's2', 's3'].entries()) {
      await tasks.kill({ containerId: id, signal: 9 });
      await tasks.wait({ containerId: id });
      await remove(id, (started[index] as { output: Output }).output);
    }
    await expectNoLeaks(scope, clean);
  });
});

describe('a stop with SIGTERM', () => {
  it('leaves containers running for the next start', async () => {
    const { tasks } = suite.clients;
    const { output, pid } = await start('stays', 'sleep 100');
    await suite.berthd.daemon.restart();
    expect(alive(pid)).toBe(true);
    await tasks.kill({ containerId: 'stays', signal: 9 }, patient);
    expect(await tasks.wait({ containerId: 'stays' })).toMatchObject({ exitStatus: 137 });
    await remove('stays', output);
    await expectNoLeaks(scope, clean);
  });
});

describe('a shim that is killed', () => {
  it('takes its container with it: the task is stopped and can be removed', async () => {
    const { tasks } = suite.clients;
    const { output, pid } = await start('orphan', 'sleep 100');
    const exit = tasks.wait({ containerId: 'orphan' });
    process.kill(shims().get('orphan') as number, 'SIGKILL');
    expect(await exit).toMatchObject({ exitStatus: 137 });
    await waitFor('the container to end', () => !alive(pid));
    await tasks.delete({ containerId: 'orphan' }).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'not_found' });
    });
    output[Symbol.dispose]();
    await removeContainer(suite, 'orphan');
    await expectNoLeaks(scope, clean);
  });

  it('while the daemon is down as well is cleaned up at the next start', async () => {
    const { tasks } = suite.clients;
    const { output, pid } = await start('lost', 'sleep 100');
    await suite.berthd.daemon.kill9();
    process.kill(shims().get('lost') as number, 'SIGKILL');
    await suite.berthd.daemon.start();
    await waitFor('the container to end', () => !alive(pid));
    await tasks.delete({ containerId: 'lost' }, patient).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'not_found' });
    });
    output[Symbol.dispose]();
    await removeContainer(suite, 'lost');
    await expectNoLeaks(scope, clean);
  });
});
