import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '#common/log.ts';
import { mkfifo } from '#common/native/index.ts';
import type { LogManager, LogSource } from '../../../apps/cri-shim/logs/log-manager.ts';
import { WorkerLogManager } from '../../../apps/cri-shim/logs/worker-log-manager.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

let dir: string;
let manager: LogManager;
let held: number[];
let faults: string[];

const log = createLogger({ name: 'test', destination: { write: (line: string) => faults.push(line) } });

function newManager(): LogManager {
  return new WorkerLogManager({ stateDirectory: join(dir, 'state'), log, maxLine: 64 });
}

beforeEach(() => {
  dir = scratchDir();
  held = [];
  faults = [];
  mkdirSync(join(dir, 'pod'));
  manager = newManager();
});

afterEach(async () => {
  await manager.close();
  for (const fd of held) closeSync(fd);
  removeScratch(dir);
});

/** A container with FIFOs that something else holds open, as the shim does, and a descriptor to write each. */
function container(overrides: Partial<LogSource> = {}): { source: LogSource; out: number; err: number } {
  const fd = (name: string) => {
    const path = join(dir, name);
    mkfifo(path, 0o600);
    const opened = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    held.push(opened);
    return opened;
  };
  const source = {
    containerId: 'c',
    stdout: join(dir, 'out'),
    stderr: join(dir, 'err'),
    logPath: join(dir, 'pod/0.log'),
    logDirectory: join(dir, 'pod'),
    tty: false,
    ...overrides,
  };
  return { source, out: fd('out'), err: fd('err') };
}

/** The container's process exits: nobody holds its FIFOs any more. */
function exit(): void {
  for (const fd of held.splice(0)) closeSync(fd);
}

const entries = (path = '0.log') =>
  readFileSync(join(dir, 'pod', path), 'latin1')
    .split('\n')
    .slice(0, -1)
    .map((line) => line.slice(line.indexOf(' ') + 1));

test('both streams go to one log, line by line', async () => {
  const { source, out, err } = container();
  await manager.attach(source);
  writeSync(out, 'one\ntwo\n');
  await waitFor('the lines', () => entries().length === 2);
  writeSync(err, 'oops\n');
  await waitFor('the third line', () => entries().length === 3);
  expect(entries()).toEqual(['stdout F one', 'stdout F two', 'stderr F oops']);
});

test('after the exit, all output is in the log when drained resolves, the unfinished line as a part', async () => {
  const { source, out } = container();
  await manager.attach(source);
  writeSync(out, 'x\n'.repeat(5000));
  writeSync(out, 'no newline');
  exit();
  await manager.drained('c', 10_000);
  expect(entries().length).toBe(5001);
  expect(entries().at(-1)).toBe('stdout P no newline');
});

test('drained resolves with what there is when a process outlives the container', async () => {
  const { source, out } = container();
  await manager.attach(source);
  writeSync(out, 'line\nrest');
  await manager.drained('c', 50);
  expect(entries()).toEqual(['stdout F line', 'stdout P rest']);
  writeSync(out, ' of it\n');
  await waitFor('the end of the line', () => entries().length === 3);
  expect(entries().at(-1)).toBe('stdout F  of it');
});

test('drained of an unknown container, and detaching one, is no error', async () => {
  await manager.drained('unknown', 1000);
  await manager.detach('unknown');
});

test('reopen is a barrier between the old file and the new one', async () => {
  const { source, out } = container();
  await manager.attach(source);
  for (let n = 0; n < 50; n++) {
    writeSync(out, `${n}\n`);
    renameSync(join(dir, 'pod/0.log'), join(dir, `pod/0.log.${n}`));
    await manager.reopen('c');
    expect(entries(`0.log.${n}`)).toEqual([`stdout F ${n}`]);
  }
});

test('a line that a rotation splits goes whole to the new file', async () => {
  const { source, out } = container();
  await manager.attach(source);
  writeSync(out, 'first\nsec');
  renameSync(join(dir, 'pod/0.log'), join(dir, 'pod/old'));
  await manager.reopen('c');
  writeSync(out, 'ond\n');
  await waitFor('the line', () => entries().length === 1);
  expect([entries('old'), entries()]).toEqual([['stdout F first'], ['stdout F second']]);
});

test('reopening fails when the new file cannot be made, and the old one stays in use', async () => {
  const { source, out } = container();
  await manager.attach(source);
  renameSync(join(dir, 'pod'), join(dir, 'moved'));
  await expect(manager.reopen('c')).rejects.toMatchObject({ code: 'failed_precondition' });
  writeSync(out, 'still\n');
  renameSync(join(dir, 'moved'), join(dir, 'pod'));
  await waitFor('the line', () => entries().length === 1);
  await expect(manager.reopen('unknown')).rejects.toMatchObject({ code: 'not_found' });
});

test('a terminal has one stream, and its carriage returns are dropped', async () => {
  const { source, out } = container({ tty: true, stderr: undefined });
  await manager.attach(source);
  writeSync(out, 'a\r\nb\r\n');
  await waitFor('the lines', () => entries().length === 2);
  expect(entries()).toEqual(['stdout F a', 'stdout F b']);
});

test('without a log path the output is discarded and the container never blocks', async () => {
  const { source, out } = container({ logPath: undefined });
  await manager.attach(source);
  const block = Buffer.alloc(64 * 1024, 'x\n');
  for (let n = 0; n < 32; n++) {
    await waitFor('room in the pipe', () => {
      try {
        return writeSync(out, block) > 0;
      } catch {
        return false;
      }
    });
  }
  await manager.detach('c');
  expect(readdirSync(join(dir, 'pod'))).toEqual([]);
});

test('detaching writes what is left and leaves nothing behind', async () => {
  const { source, out } = container();
  await manager.attach(source);
  writeSync(out, 'last words');
  await manager.detach('c');
  expect(entries()).toEqual(['stdout P last words']);
  expect(readdirSync(join(dir, 'state'))).toEqual([]);
});

test('the next manager goes on where the last one stopped', async () => {
  const { source, out } = container();
  await manager.attach(source);
  writeSync(out, 'one\ntw');
  await waitFor('the line', () => entries().length === 1);
  await manager.close();
  writeSync(out, 'o\nthree\n');
  manager = newManager();
  await manager.attach(source);
  await waitFor('the lines', () => entries().length === 3);
  expect(entries()).toEqual(['stdout F one', 'stdout F two', 'stdout F three']);
});

test('output of a container that ended while nobody read is in the log after the next attach', async () => {
  const { source, out } = container();
  await manager.attach(source);
  await manager.close();
  writeSync(out, 'one\ntwo');
  const keeper = openSync(source.stdout ?? '', constants.O_RDONLY | constants.O_NONBLOCK);
  exit();
  held.push(keeper);
  manager = newManager();
  await manager.attach(source);
  await manager.drained('c', 10_000);
  expect(entries()).toEqual(['stdout F one', 'stdout P two']);
});

test('entries written by a killed process but not recorded are counted, a torn one is written again', async () => {
  const { source, out, err } = container();
  await manager.attach(source);
  writeSync(out, 'zero\n');
  await waitFor('the line', () => entries().length === 1);
  await manager.close();
  const record = readFileSync(join(dir, 'state/c/progress'));
  manager = newManager();
  await manager.attach(source);
  writeSync(out, `${'L'.repeat(100)}\r\n`);
  await waitFor('the long line', () => entries().length === 3);
  writeSync(err, 'e\n');
  await waitFor('the error', () => entries().length === 4);
  await manager.close();
  writeFileSync(join(dir, 'state/c/progress'), record);
  const whole = readFileSync(join(dir, 'pod/0.log'));
  writeFileSync(join(dir, 'pod/0.log'), whole.subarray(0, -3), { flag: 'r+' });
  execFileSync('truncate', ['-s', String(whole.length - 3), join(dir, 'pod/0.log')]);
  manager = newManager();
  await manager.attach(source);
  await waitFor('the error', () => entries().length === 4);
  expect(entries()).toEqual([
    'stdout F zero',
    `stdout P ${'L'.repeat(64)}`,
    `stdout F ${'L'.repeat(36)}`,
    'stderr F e',
  ]);
});

test('a log whose folder is gone waits for it, and loses nothing', async () => {
  const { source, out } = container();
  await manager.attach(source);
  await manager.close();
  renameSync(join(dir, 'pod'), join(dir, 'moved'));
  manager = newManager();
  await manager.attach(source);
  writeSync(out, 'patience\n');
  await waitFor('a warning', () => faults.some((line) => line.includes('cannot be written')));
  renameSync(join(dir, 'moved'), join(dir, 'pod'));
  await waitFor('the line', () => entries().length === 1);
  expect(faults.at(-1)).toContain('can be written again');
});

test('a full disk pauses the log, and loses and doubles nothing', async () => {
  const disk = join(dir, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk]);
  const logPath = join(disk, '0.log');
  const { source, out } = container({ logPath, logDirectory: disk });
  await manager.attach(source);
  writeFileSync(join(disk, 'ballast'), Buffer.alloc(40 * 1024));
  const lines = Array.from({ length: 1500 }, (_, n) => `line ${n}`);
  writeSync(out, `${lines.join('\n')}\n`);
  await waitFor('a warning', () => faults.some((line) => line.includes('cannot be written')));
  execFileSync('mount', ['-o', 'remount,size=1m', disk]);
  exit();
  await manager.drained('c', 10_000);
  const contents = readFileSync(logPath, 'latin1').split('\n').slice(0, -1);
  expect(contents.map((line) => line.split(' F ')[1])).toEqual(lines);
});

test('journal space is given back while the container goes on writing', async () => {
  const { source, out } = container();
  await manager.attach(source);
  const journal = join(dir, 'state/c/stdout.journal');
  const block = Buffer.from('0123456789abcde\n'.repeat(2048));
  let [sent, most] = [0, 0];
  while (sent < 4 << 20) {
    await waitFor('room in the pipe', () => {
      try {
        return writeSync(out, block) === block.length;
      } catch {
        return false;
      }
    });
    sent += block.length;
    most = Math.max(most, Number(execFileSync('stat', ['-c', '%b', journal], { encoding: 'utf8' })) * 512);
  }
  expect(most).toBeLessThan(2 << 20);
  exit();
  await manager.drained('c', 10_000);
  expect(entries().length).toBe(sent / 16);
});

test('attaching names what is missing, and leaves nothing behind', async () => {
  const { source } = container();
  await expect(manager.attach({ ...source, stdout: join(dir, 'nowhere') })).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('nowhere'),
  });
  await expect(
    manager.attach({ ...source, logDirectory: join(dir, 'no'), logPath: join(dir, 'no/0.log') }),
  ).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining(join(dir, 'no')),
  });
  expect(readdirSync(join(dir, 'state'))).toEqual([]);
  await manager.attach(source);
  await expect(manager.attach(source)).rejects.toMatchObject({ code: 'already_exists' });
});

test("a log path that leaves the pod's folder through a symbolic link is refused", async () => {
  const { source } = container({ logPath: join(dir, 'pod/link/0.log') });
  mkdirSync(join(dir, 'elsewhere'));
  symlinkSync(join(dir, 'elsewhere'), join(dir, 'pod/link'));
  await expect(manager.attach(source)).rejects.toMatchObject({ code: 'invalid_argument' });
  symlinkSync(join(dir, 'elsewhere/0.log'), join(dir, 'pod/0.log'));
  await expect(manager.attach({ ...source, logPath: join(dir, 'pod/0.log') })).rejects.toMatchObject({
    code: 'invalid_argument',
  });
  expect(existsSync(join(dir, 'elsewhere/0.log'))).toBe(false);
  rmSync(join(dir, 'pod/0.log'));
});
