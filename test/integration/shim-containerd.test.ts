import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Daemon } from '../support/daemon.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { isAlive } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

const containerd = '/usr/bin/containerd';
const shim = join(import.meta.dirname, '../../dist/containerd-shim-berth-v1');
const missing = process.getuid?.() !== 0 || spawnSync(containerd, ['--version']).status !== 0;

describe.skipIf(missing)("the shim under Debian's containerd", () => {
  const dir = scratchDir();
  const rootfs = join(dir, 'image');
  let daemon: Daemon;

  beforeAll(async () => {
    for (const folder of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc', 'run']) {
      mkdirSync(join(rootfs, folder), { recursive: true });
    }
    await copyFile('/bin/busybox', join(rootfs, 'bin/busybox'));
    for (const applet of ['sh', 'cat', 'echo', 'sleep', 'tty', 'true']) {
      symlinkSync('busybox', join(rootfs, 'bin', applet));
    }
    writeFileSync(
      join(dir, 'config.toml'),
      [
        'version = 2',
        `root = "${dir}/root"`,
        `state = "${dir}/state"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        '[grpc]',
        `address = "${dir}/c.sock"`,
      ].join('\n'),
    );
    daemon = await Daemon.start({
      command: [containerd, '--config', join(dir, 'config.toml')],
      socket: join(dir, 'c.sock'),
      logPath: join(dir, 'containerd.log'),
      env: { BERTH_SHIM_SOCKET_DIR: join(dir, 's') },
    });
  });
  afterAll(async () => {
    for (const id of ctr('task', 'ls', '-q').stdout.split('\n').filter(Boolean)) ctr('task', 'rm', '--force', id);
    await daemon[Symbol.asyncDispose]();
    removeScratch(dir);
  });

  function ctr(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
    return spawnSync('ctr', ['--address', join(dir, 'c.sock'), ...args], { encoding: 'utf8', timeout: 30_000 });
  }
  const run = (...args: readonly string[]): ReturnType<typeof ctr> =>
    ctr('run', '--runtime', shim, '--fifo-dir', join(dir, 'f'), '--rootfs', ...args);
  const shimPid = (id: string): number =>
    Number(readFileSync(join(dir, 'state/io.containerd.runtime.v2.task/default', id, 'shim.pid'), 'utf8'));

  it('passes output and exit code on', () => {
    expect(run('--rm', rootfs, 'one', '/bin/sh', '-c', 'echo hello; echo oops >&2; exit 7')).toMatchObject({
      status: 7,
      stdout: 'hello\n',
      stderr: expect.stringContaining('oops\n') as string,
    });
  });

  it('runs in the background, takes execs with stdin, and is killed', async () => {
    expect(run('--detach', rootfs, 'two', '/bin/sleep', '1000').status).toBe(0);
    const pid = shimPid('two');
    expect(ctr('task', 'ls').stdout).toMatch(/two\s+\d+\s+RUNNING/);
    expect(ctr('task', 'exec', '--exec-id', 'e', 'two', '/bin/echo', 'from exec').stdout).toBe('from exec\n');
    const piped = execFileSync(
      'ctr',
      ['--address', join(dir, 'c.sock'), 'task', 'exec', '--exec-id', 'in', 'two', '/bin/cat'],
      { input: 'through and back', encoding: 'utf8', timeout: 30_000 },
    );
    expect(piped).toBe('through and back');
    expect(ctr('task', 'exec', '--exec-id', 'x', 'two', '/bin/sh', '-c', 'exit 3').status).toBe(3);
    ctr('task', 'kill', '--signal', 'KILL', 'two');
    await waitFor('the task to stop', () => /two\s+\d+\s+STOPPED/.test(ctr('task', 'ls').stdout));
    expect(ctr('task', 'kill', 'two').stderr).toContain('process already finished: not found');
    expect(ctr('task', 'rm', 'two').stderr).toContain('exit code 137');
    ctr('container', 'rm', 'two');
    await waitFor('the shim to end', () => !isAlive(pid));
  });

  it('names a command that does not exist, and leaves nothing', () => {
    const { status, stderr } = run('--rm', rootfs, 'three', '/bin/nonexistent');
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/OCI runtime create failed: .*nonexistent.*no such file or directory/);
    expect(ctr('task', 'ls', '-q').stdout).toBe('');
  });

  it('outlives containerd, which finds it again with the exit that happened meanwhile', async () => {
    expect(run('--detach', rootfs, 'four', '/bin/sh', '-c', 'sleep 1; exit 9').status).toBe(0);
    await daemon.kill9();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await daemon.start();
    expect(ctr('task', 'ls').stdout).toMatch(/four\s+\d+\s+STOPPED/);
    expect(ctr('task', 'rm', 'four').stderr).toContain('exit code 9');
    ctr('container', 'rm', 'four');
  });

  it('is cleaned up after by containerd when it is killed', async () => {
    expect(run('--detach', rootfs, 'five', '/bin/sleep', '1000').status).toBe(0);
    const pid = Number(/five\s+(\d+)/.exec(ctr('task', 'ls').stdout)?.[1]);
    process.kill(shimPid('five'), 'SIGKILL');
    await waitFor('the container to end', () => !isAlive(pid));
    await waitFor('the task to be gone', () => !ctr('task', 'ls').stdout.includes('five'));
    ctr('container', 'rm', 'five');
  });
});
