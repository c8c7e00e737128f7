import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { Daemon, type DaemonPlan } from '../../../apps/cli/up/daemon.ts';

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-daemon-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** A daemon that is the given script. */
async function plan(script: string): Promise<DaemonPlan> {
  const main = join(directory, 'main.mjs');
  await writeFile(main, script);
  return { name: 'testd', main, args: [], socket: join(directory, 'd.sock'), log: join(directory, 'logs', 'd.log') };
}

/** Accepts connections as HTTP/2, which is all that waiting for readiness asks. */
const serving = (directoryPath: string) =>
  `import { createServer } from 'node:http2'; createServer().listen(${JSON.stringify(join(directoryPath, 'd.sock'))});`;

const never = new AbortController().signal;

test('a daemon that ends while it starts is reported with the end of its log', async () => {
  const start = Daemon.start(await plan("console.error('no such thing'); process.exit(3);"), never);
  await expect(start).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringMatching(/testd ended with 3 .*\n.*no such thing/),
  });
});

test('a daemon that ends later is reported too', async () => {
  const daemon = await Daemon.start(
    await plan(`${serving(directory)} process.on('SIGUSR1', () => process.exit(4));`),
    never,
  );
  process.kill(daemon.pid ?? 0, 'SIGUSR1');
  await expect(daemon.ended).resolves.toMatchObject({ message: expect.stringContaining('testd ended with 4') });
  await daemon[Symbol.asyncDispose]();
});

test('waiting for a daemon ends with the reason of the signal, and the daemon with it', async () => {
  const controller = new AbortController();
  const start = Daemon.start(await plan('setInterval(() => undefined, 1000);'), controller.signal);
  controller.abort(new BerthError('canceled', 'enough'));
  await expect(start).rejects.toMatchObject({ code: 'canceled', message: 'enough' });
});

test('a daemon ends when it is disposed of', async () => {
  const daemon = await Daemon.start(await plan(serving(directory)), never);
  const { pid = 0 } = daemon;
  await daemon[Symbol.asyncDispose]();
  expect(() => process.kill(pid, 0)).toThrow(expect.objectContaining({ code: 'ESRCH' }));
});
