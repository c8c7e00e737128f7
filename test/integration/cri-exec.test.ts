import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Channel, connect } from '#common/grpc/client.ts';
import { createLogger } from '#common/log.ts';
import { readTextIfThere } from '#common/native/files.ts';
import { TaskExecutor } from '../../apps/cri-shim/exec/task-executor.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, processOf, removeContainer } from '../support/container.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const ID = 'target';
/** A shell collects the orphans that killed commands leave. */
const INIT = ['sh', '-c', 'sleep 1000; true'];
const IDLE = `${INIT.join(' ')},sleep 1000`;
const suite = useBerthd();
const spec = { ociVersion: '1.0.2', process: { ...processOf(['ignored']), env: ['PATH=/bin', 'HELLO=there'] } };

let channel: Channel;
let exec: TaskExecutor;
let scope: LeakScope;
let clean: LeakSnapshot;

const sh = (script: string, timeoutMs = 0, signal?: AbortSignal) =>
  exec.execSync(ID, spec, ['sh', '-c', script], timeoutMs, signal);

/** Command lines of the container's processes; one that ends meanwhile has none. */
async function commands(): Promise<string[]> {
  const { processes } = await suite.clients.tasks.listPids({ containerId: ID });
  const lines = processes.map(({ pid }) => readTextIfThere(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim());
  return lines.filter((line) => line !== undefined && line !== '') as string[];
}

beforeAll(async () => {
  const chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  channel = connect(suite.berthd.socket, { namespace: suite.namespace });
  exec = new TaskExecutor({
    channel,
    stateDirectory: join(suite.dir, 'io'),
    log: createLogger({ name: 'test', level: 'silent' }),
  });
  await createContainer(suite, { id: ID, chain, args: INIT });
  await suite.clients.tasks.create({ containerId: ID });
  await suite.clients.tasks.start({ containerId: ID });
  await sh('true');
  scope = { dir: suite.dir, names: [suite.namespace] };
});

beforeEach(() => {
  clean = leakSnapshot(scope);
});

afterAll(async () => {
  await suite.clients.tasks.kill({ containerId: ID, signal: 9, all: true });
  await suite.clients.tasks.wait({ containerId: ID });
  await suite.clients.tasks.delete({ containerId: ID });
  await removeContainer(suite, ID);
  channel.close();
});

/** No FIFO, no process, no record of a command. */
async function expectNothingLeft(): Promise<void> {
  await expectNoLeaks(scope, clean);
  await waitFor('its FIFOs to be gone', () => readdirSync(join(suite.dir, 'io')).length === 0);
}

test('a command has its output apart, its exit code, and the environment of the container', async () => {
  const { stdout, stderr, exitCode } = await sh('echo $HELLO; echo oops >&2; exit 3');
  expect([stdout.toString(), stderr.toString(), exitCode]).toEqual(['there\n', 'oops\n', 3]);
  await expectNothingLeft();
});

test('output is kept byte by byte', async () => {
  const { stdout } = await sh("printf '\\000\\377\\n\\303(no newline'");
  expect(stdout).toEqual(Buffer.from('\0\xff\n\xc3(no newline', 'latin1'));
});

test('a killed command has the exit code that shells give it', async () => {
  expect((await sh('kill -9 $$')).exitCode).toBe(137);
});

test('CVE-2022-31030: large output is complete up to 16 MiB and cut beyond, which it says, and the command goes on', async () => {
  const large = await sh('dd if=/dev/zero bs=1024 count=8000 2>/dev/null');
  expect(large.stdout.length).toBe(8000 * 1024);
  const huge = await sh('dd if=/dev/zero bs=65536 count=320 2>/dev/null; exit 4');
  expect(huge.exitCode).toBe(4);
  expect(huge.stdout.length).toBeLessThan(16 * 1024 * 1024);
  expect(huge.stdout.subarray(-80).toString()).toMatch(/\n\[output truncated: \d+ more bytes\]\n$/);
});

test('many commands at the same time keep their outputs apart', async () => {
  const results = await Promise.all(Array.from({ length: 12 }, (_, n) => sh(`sleep 0.${n % 3}; echo ${n}; exit ${n}`)));
  expect(results.map(({ stdout, exitCode }) => [stdout.toString(), exitCode])).toEqual(
    Array.from({ length: 12 }, (_, n) => [`${n}\n`, n]),
  );
  await expectNothingLeft();
});

describe('a command that takes too long', () => {
  test('is killed at its deadline with all that it started', async () => {
    const run = sh('sleep 501 & sleep 502; true', 700);
    await expect(run).rejects.toMatchObject({ code: 'deadline_exceeded', message: expect.stringContaining('0.7 s') });
    await waitFor('its processes to be gone', async () => (await commands()).join() === IDLE);
    await expectNothingLeft();
  });

  test('is killed when its caller leaves', async () => {
    const caller = new AbortController();
    const run = sh('sleep 503', 0, caller.signal);
    await waitFor('the command', async () => (await commands()).includes('sleep 503'));
    caller.abort();
    await expect(run).rejects.toMatchObject({ code: 'canceled' });
    await waitFor('its processes to be gone', async () => (await commands()).join() === IDLE);
    await expectNothingLeft();
  });
});

test('CVE-2026-53495: a process that a command leaves behind does not hold up its result', async () => {
  const { stdout, exitCode } = await sh('echo started; sleep 504 & exit 5');
  expect([stdout.toString(), exitCode]).toEqual(['started\n', 5]);
  await waitFor('its FIFOs to be gone', () => readdirSync(join(suite.dir, 'io')).length === 0);
  await sh('kill -9 $(ps -o pid,args | grep "[s]leep 504" | while read pid rest; do echo $pid; done)');
  await waitFor('it to be gone', async () => (await commands()).join() === IDLE);
});

test('a command outlives a restart of berthd, and its exit code and output are known', async () => {
  const run = sh('echo before; sleep 3; echo after; exit 6');
  await waitFor('the command', async () => (await commands()).includes('sleep 3'));
  // It runs before berthd has said so, and until then its caller doesn't know that it does.
  await sleep(500);
  await suite.berthd.daemon.restartAfterKill9();
  const { stdout, exitCode } = await run;
  expect([stdout.toString(), exitCode]).toEqual(['before\nafter\n', 6]);
});

describe('what cannot be run leaves nothing behind', () => {
  test('a command that does not exist is named', async () => {
    for (const command of ['no-such-command', '/no/such/file']) {
      await expect(exec.execSync(ID, spec, [command, 'x'], 0)).rejects.toMatchObject({
        code: 'not_found',
        message: expect.stringContaining(command),
      });
    }
    await expectNothingLeft();
  });

  test('a container that does not exist', async () => {
    await expect(exec.execSync('nobody', spec, ['true'], 0)).rejects.toMatchObject({ code: 'not_found' });
    await expectNothingLeft();
  });
});
