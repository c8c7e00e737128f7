import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createLogger } from '#common/log.ts';
import { mkfifo } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { WorkerLogManager } from '../../../apps/cri-shim/logs/worker-log-manager.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

const line = `${'x'.repeat(1023)}\n`;
let dir: string;
let manager: WorkerLogManager;
let out: number;

const newManager = (followerPatienceMs: number): WorkerLogManager =>
  new WorkerLogManager({
    stateDirectory: join(dir, 'state'),
    log: createLogger({ name: 'test', level: 'silent' }),
    followerPatienceMs,
  });

beforeEach(() => {
  dir = scratchDir();
  mkdirSync(join(dir, 'pod'));
  mkfifo(join(dir, 'out'), 0o600);
  out = openSync(join(dir, 'out'), constants.O_RDWR | constants.O_NONBLOCK);
});

afterEach(async () => {
  await manager.close();
  if (out >= 0) closeSync(out);
  removeScratch(dir);
});

const logPath = (): string => join(dir, 'pod/0.log');
const attach = (fields: { logPath?: string }): Promise<void> =>
  manager.attach({ containerId: 'c', stdout: join(dir, 'out'), tty: true, ...fields });

/** Writes lines for as long as the FIFO takes them; answers how many. */
function writeLines(most: number): number {
  for (let written = 0; written < most; written++) {
    try {
      writeSync(out, line);
    } catch (error) {
      if (hasErrno(error, 'EAGAIN')) return written;
      throw error;
    }
  }
  return most;
}

function collect(output: Readable): { text: string; ended: boolean; error?: unknown } {
  const seen: { text: string; ended: boolean; error?: unknown } = { text: '', ended: false };
  output.on('data', (chunk: Buffer) => {
    seen.text += chunk.toString('latin1');
  });
  output.on('end', () => {
    seen.ended = true;
  });
  return seen;
}

const logged = (): number => readFileSync(logPath(), 'latin1').split('\n').length - 1;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

describe.each([
  ['with a log', () => ({ logPath: logPath() })],
  ['without a log', () => ({})],
] as const)('the output of a container %s', (_, fields) => {
  test('reaches each follower whole, from when it began to the end', async () => {
    manager = newManager(60_000);
    await attach(fields());
    const first = collect((await manager.follow('c', 'stdout')).output);
    writeSync(out, 'one\n');
    await waitFor('the first word', () => first.text === 'one\n');
    const second = collect((await manager.follow('c', 'stdout')).output);
    writeSync(out, 'two');
    closeSync(out);
    out = -1;
    await waitFor('the ends', () => first.ended && second.ended);
    expect([first.text, second.text]).toEqual(['one\ntwo', 'two']);
    await expect(manager.follow('c', 'stderr')).rejects.toMatchObject({ code: 'not_found' });
  });

  test('waits for a follower that is slow, and loses nothing', async () => {
    manager = newManager(60_000);
    await attach(fields());
    const { output } = await manager.follow('c', 'stdout');
    const total = 4096;
    let sent = 0;
    // Nothing is read: pipe and FIFO fill up, and the container waits.
    await waitFor('the container to wait', () => {
      const written = writeLines(total - sent);
      sent += written;
      return written === 0;
    });
    expect(sent).toBeLessThan(total);
    const seen = collect(output);
    await waitFor('the rest to be written', () => {
      sent += writeLines(total - sent);
      return sent === total;
    });
    await waitFor('all to be read', () => seen.text.length === total * line.length);
    expect(seen.text).toBe(line.repeat(total));
  });

  test('lets go of one that reads nothing, and goes on', async () => {
    manager = newManager(50);
    await attach(fields());
    const before = descriptors();
    const { output } = await manager.follow('c', 'stdout');
    let failure: unknown;
    output.on('error', (error) => {
      failure = error;
    });
    await waitFor('it to be let go', () => {
      writeLines(1024);
      return failure !== undefined;
    });
    expect(failure).toMatchObject({ code: 'resource_exhausted' });
    await waitFor('the output to go on', () => writeLines(1024) > 0);
    await waitFor('its descriptors to be closed', () => descriptors() <= before);
  });
});

test('a follower that leaves is forgotten, also one that reads nothing', async () => {
  manager = newManager(60_000);
  await attach({ logPath: logPath() });
  const before = descriptors();
  for (const silent of [false, true]) {
    const followed = await manager.follow('c', 'stdout');
    if (!silent) collect(followed.output);
    writeLines(2048);
    followed[Symbol.dispose]();
  }
  await waitFor('its descriptors to be closed', () => descriptors() <= before);
  const lines = logged();
  await waitFor('room', () => writeLines(1) === 1);
  await waitFor('the log to go on', () => logged() > lines);
});

test('what a follower has not read when the container is detached still comes', async () => {
  manager = newManager(60_000);
  await attach({ logPath: logPath() });
  const { output } = await manager.follow('c', 'stdout');
  const sent = writeLines(200);
  closeSync(out);
  out = -1;
  await manager.drained('c', 10_000);
  await manager.detach('c');
  const seen = collect(output);
  await waitFor('the end', () => seen.ended);
  expect(seen.text).toBe(line.repeat(sent));
});
