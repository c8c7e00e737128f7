import { spawn, spawnSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Daemon } from '../support/daemon.ts';
import { needsPeer, newerContainerd } from '../support/peers.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { isAlive, readFifo } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

const shim = join(import.meta.dirname, '../../dist/containerd-shim-berth-v1');

const hosts = [
  { name: "Debian's containerd, which is given its path", bin: '/usr/bin', runtime: shim, newer: false },
  {
    name: 'a newer containerd, which finds it by its name',
    bin: dirname(newerContainerd.command('containerd')),
    runtime: 'io.containerd.berth.v1',
    newer: true,
  },
];

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe.each(hosts)('the shim under $name', ({ bin, runtime, newer }) => {
  if (newer) needsPeer(newerContainerd);
  const dir = scratchDir();
  const rootfs = join(dir, 'image');
  let daemon: Daemon | undefined;

  beforeAll(async () => {
    if (newer && newerContainerd.missing !== undefined) return;
    for (const folder of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc', 'run']) {
      mkdirSync(join(rootfs, folder), { recursive: true });
    }
    await copyFile('/bin/busybox', join(rootfs, 'bin/busybox'));
    for (const applet of ['sh', 'cat', 'echo', 'sleep', 'tty', 'true', 'stty', 'head']) {
      symlinkSync('busybox', join(rootfs, 'bin', applet));
    }
    const config = join(dir, 'config.toml');
    writeFileSync(
      config,
      [
        'version = 2',
        `root = "${dir}/root"`,
        `state = "${dir}/state"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        '[grpc]',
        `address = "${dir}/c.sock"`,
        '[plugins."io.containerd.internal.v1.opt"]',
        `path = "${dir}/opt"`,
      ].join('\n'),
    );
    daemon = await Daemon.start({
      command: [join(bin, 'containerd'), '--config', config],
      socket: join(dir, 'c.sock'),
      logPath: join(dir, 'containerd.log'),
      env: { BERTH_SHIM_SOCKET_DIR: join(dir, 's'), PATH: `${dirname(shim)}:${bin}:${process.env.PATH}` },
    });
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(daemon?.logTail(30));
    if (daemon === undefined) return;
    for (const id of words(ctr('task', 'ls', '-q').stdout)) ctr('task', 'rm', '--force', id);
    for (const id of words(ctr('container', 'ls', '-q').stdout)) ctr('container', 'rm', id);
  });
  afterAll(async () => {
    await daemon?.stop();
    removeScratch(dir);
  });

  function words(text: string): string[] {
    return text.split('\n').filter(Boolean);
  }
  function ctr(...args: readonly string[]): Result {
    return spawnSync(join(bin, 'ctr'), command(args), { encoding: 'utf8', timeout: 60_000 });
  }
  function command(args: readonly string[]): string[] {
    return ['--address', join(dir, 'c.sock'), ...args];
  }
  const run = (...args: readonly string[]): Result =>
    ctr('run', '--runtime', runtime, '--fifo-dir', join(dir, 'f'), '--rootfs', ...args);
  const shimPid = (id: string): number =>
    Number(readFileSync(join(dir, 'state/io.containerd.runtime.v2.task/default', id, 'shim.pid'), 'utf8'));
  const taskPid = (id: string): number => Number(new RegExp(`${id}\\s+(\\d+)`).exec(ctr('task', 'ls').stdout)?.[1]);

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
    const piped = spawnSync(join(bin, 'ctr'), command(['task', 'exec', '--exec-id', 'in', 'two', '/bin/cat']), {
      input: 'through and back',
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect(piped.stdout).toBe('through and back');
    expect(ctr('task', 'exec', '--exec-id', 'x', 'two', '/bin/sh', '-c', 'exit 3').status).toBe(3);
    ctr('task', 'kill', '--signal', 'KILL', 'two');
    await waitFor('the task to stop', () => /two\s+\d+\s+STOPPED/.test(ctr('task', 'ls').stdout));
    expect(ctr('task', 'kill', 'two').stderr).toContain('process already finished');
    expect(ctr('task', 'rm', 'two').stderr).toContain('exit code 137');
    await waitFor('the shim to end', () => !isAlive(pid));
  });

  it('gives container and exec a terminal', async () => {
    const inTerminal = async (...args: readonly string[]): Promise<string> => {
      const line = [join(bin, 'ctr'), ...command(args)].map((word) => `'${word}'`).join(' ');
      const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      const text = (await Array.fromAsync(child.stdout, String)).join('');
      child.stdin.destroy();
      return text;
    };
    const output = await inTerminal(
      ...['run', '--rm', '--tty', '--runtime', runtime, '--fifo-dir', join(dir, 'f'), '--rootfs'],
      ...[rootfs, 'screen', '/bin/sh', '-c', 'tty; echo shown'],
    );
    // The client's own terminal adds a carriage return of its own.
    expect(output).toMatch(/\/dev\/pts\/0\r+\nshown\r+\n/);
    expect(run('--detach', rootfs, 'screens', '/bin/sleep', '1000').status).toBe(0);
    expect(await inTerminal('task', 'exec', '--tty', '--exec-id', 't', 'screens', '/bin/tty')).toContain('/dev/pts/');
  });

  it('freezes, thaws and measures a container', async () => {
    expect(run('--detach', rootfs, 'cold', '/bin/sleep', '1000').status).toBe(0);
    expect(ctr('task', 'pause', 'cold').status).toBe(0);
    expect(ctr('task', 'ls').stdout).toMatch(/cold\s+\d+\s+PAUSED/);
    expect(ctr('task', 'resume', 'cold').status).toBe(0);
    expect(ctr('task', 'ls').stdout).toMatch(/cold\s+\d+\s+RUNNING/);
    const metrics = ctr('task', 'metrics', 'cold');
    expect(metrics.stdout).toMatch(/^cold\s/m);
    expect(metrics.stdout).toMatch(/^pids\.current +1 *$/m);
    expect(Number(/^memory\.usage(?:_in_bytes)?\s+(\d+) *$/m.exec(metrics.stdout)?.[1])).toBeGreaterThan(0);
  });

  it('writes the output of a container in the background to a file', async () => {
    const log = join(dir, 'file.log');
    const script = 'for i in 1 2 3; do echo line $i; done';
    expect(run('--detach', '--log-uri', `file://${log}`, rootfs, 'filed', '/bin/sh', '-c', script).status).toBe(0);
    await waitFor('the task to stop', () => /filed\s+\d+\s+STOPPED/.test(ctr('task', 'ls').stdout));
    expect(readFileSync(log, 'utf8')).toBe('line 1\nline 2\nline 3\n');
  });

  it('keeps what a container in the background says in its FIFO until somebody reads it', async () => {
    const fifos = join(dir, 'kept');
    const all =
      'until [ -e /tmp/speak ]; do sleep 0.05; done; i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done';
    const args = ['--runtime', runtime, '--fifo-dir', fifos, '--rootfs', rootfs, 'spoken', '/bin/sh', '-c', all];
    // The client reads until it goes. Then nobody does: the container waits with a full FIFO.
    expect(ctr('run', '--detach', ...args).status).toBe(0);
    writeFileSync(`/proc/${taskPid('spoken')}/root/tmp/speak`, '');
    const [path = ''] = globSync(`${fifos}/**/spoken-stdout`);
    const lines = (await readFifo(path).ended).trimEnd().split('\n').map(Number);
    expect(lines).toEqual(Array.from({ length: 30_000 }, (_, index) => index));
    await waitFor('the task to stop', () => /spoken\s+\d+\s+STOPPED/.test(ctr('task', 'ls').stdout));
    expect(ctr('task', 'rm', 'spoken').status).toBe(0);
  });

  it('names a command that does not exist, and leaves nothing', () => {
    const { status, stderr } = run('--rm', rootfs, 'three', '/bin/nonexistent');
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/OCI runtime create failed: .*nonexistent.*no such file or directory/);
    expect(ctr('task', 'ls', '-q').stdout).toBe('');
  });

  it('outlives a kill -9 of containerd, which finds what runs and what it wants of the exits meanwhile', async () => {
    const script = 'until [ -e /tmp/end ]; do sleep 0.05; done; exit 9';
    expect(run('--detach', rootfs, 'four', '/bin/sh', '-c', script).status).toBe(0);
    expect(run('--detach', rootfs, 'kept', '/bin/sleep', '1000').status).toBe(0);
    const pid = taskPid('four');
    const ended = shimPid('four');
    await daemon?.kill9();
    writeFileSync(`/proc/${pid}/root/tmp/end`, '');
    await waitFor('the container to end', () => !isAlive(pid));
    await daemon?.start();
    if (newer) {
      // Tasks without a process are leaks to containerd 2.x when it starts, with its own shim too.
      await waitFor('containerd to end the shim', () => !isAlive(ended));
      expect(ctr('task', 'ls').stdout).not.toContain('four');
    } else {
      expect(ctr('task', 'ls').stdout).toMatch(/four\s+\d+\s+STOPPED/);
      expect(ctr('task', 'rm', 'four').stderr).toContain('exit code 9');
    }
    expect(ctr('task', 'exec', '--exec-id', 'after', 'kept', '/bin/echo', 'managed').stdout).toBe('managed\n');
    expect(ctr('task', 'kill', '--signal', 'KILL', 'kept').status).toBe(0);
    await waitFor('the other to stop', () => /kept\s+\d+\s+STOPPED/.test(ctr('task', 'ls').stdout));
    expect(ctr('task', 'rm', 'kept').stderr).toContain('exit code 137');
  });

  it('is cleaned up after by containerd when it is killed', async () => {
    expect(run('--detach', rootfs, 'five', '/bin/sleep', '1000').status).toBe(0);
    const pid = taskPid('five');
    process.kill(shimPid('five'), 'SIGKILL');
    await waitFor('the container to end', () => !isAlive(pid));
    await waitFor('the task to be gone', () => !ctr('task', 'ls').stdout.includes('five'));
  });
});
