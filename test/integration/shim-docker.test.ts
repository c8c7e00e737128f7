import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeCgroups } from '../support/cgroups.ts';
import { Daemon } from '../support/daemon.ts';
import { Dockerd } from '../support/dockerd.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { shimProcesses } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';

const shim = join(import.meta.dirname, '../../dist/containerd-shim-berth-v1');
const dir = scratchDir();
const namespace = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
let containerd: Daemon;
let docker: Dockerd;

beforeAll(async () => {
  // Docker before 23 takes no shim by its name: it asks for runc's, which containerd looks for on its PATH.
  const bin = join(dir, 'bin');
  mkdirSync(bin);
  symlinkSync(shim, join(bin, 'containerd-shim-runc-v2'));
  const config = join(dir, 'config.toml');
  const socket = join(dir, 'c.sock');
  writeFileSync(
    config,
    [
      'version = 2',
      `root = "${dir}/root"`,
      `state = "${dir}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `address = "${socket}"`,
      '[plugins."io.containerd.internal.v1.opt"]',
      `path = "${dir}/opt"`,
    ].join('\n'),
  );
  containerd = await Daemon.start({
    command: ['containerd', '--config', config],
    socket,
    logPath: join(dir, 'logs', 'containerd.log'),
    env: { BERTH_SHIM_SOCKET_DIR: join(dir, 's'), PATH: `${bin}:${process.env.PATH}` },
  });
  docker = await Dockerd.start({ dir, containerd: socket, namespace });
  await docker.importBusybox('busybox');
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(containerd.logTail(30), docker.daemon.logTail(30));
  const left = await docker.run('ps', '--all', '--quiet');
  if (left !== '') await docker.run('rm', '--force', ...left.split('\n'));
});
afterAll(async () => {
  await docker?.[Symbol.asyncDispose]();
  await containerd?.stop();
  removeScratch(dir);
  removeCgroups(namespace);
});

describe("the shim under Docker Engine and Debian's containerd", () => {
  it('runs a container to its exit code, with its output', async () => {
    const script = 'echo out; echo err >&2; exit 3';
    const result = await docker.try('run', '--rm', 'busybox', 'sh', '-c', script);
    expect(result).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' });
    expect((await docker.try('run', '--rm', 'busybox', '/no-such-command')).code).toBe(127);
    expect(await docker.run('run', '--rm', '--tty', 'busybox', 'tty')).toBe('/dev/pts/0');
    await waitFor('every shim to end', () => shimProcesses(namespace).length === 0);
  });

  it('runs one in the background that is executed in, logged, frozen, measured and stopped', async () => {
    const script = 'trap "exit 7" TERM; echo started; while :; do sleep 0.1; done';
    await docker.run('run', '--detach', '--name', 'back', '--memory', '64m', 'busybox', 'sh', '-c', script);
    const [running] = shimProcesses(namespace);
    expect(running?.id).toBe(await docker.inspect('back', '.Id'));
    expect(await docker.try('exec', 'back', 'sh', '-c', 'echo inside; exit 4')).toMatchObject({
      code: 4,
      stdout: 'inside\n',
    });
    const piped = docker.start('exec', '--interactive', 'back', 'cat');
    piped.stdin?.end('through\n');
    expect(await piped).toMatchObject({ exitCode: 0, stdout: 'through\n' });
    await docker.run('pause', 'back');
    expect(await docker.inspect('back', '.State.Status')).toBe('paused');
    await docker.run('unpause', 'back');
    expect(await docker.run('stats', '--no-stream', '--format', '{{.MemUsage}}', 'back')).toMatch(/ \/ 64MiB$/);
    await docker.run('stop', 'back');
    expect(await docker.inspect('back', '.State.ExitCode')).toBe('7');
    expect(await docker.run('logs', 'back')).toBe('started');
    await docker.run('start', 'back');
    await docker.run('kill', 'back');
    expect(await docker.run('wait', 'back')).toBe('137');
    await waitFor('every shim to end', () => shimProcesses(namespace).length === 0);
  });

  it('says that the kernel killed a container for want of memory', async () => {
    const hog = 'a=x; while :; do a=$a$a; done';
    expect((await docker.try('run', '--name', 'hog', '--memory', '16m', 'busybox', 'sh', '-c', hog)).code).toBe(137);
    expect(await docker.inspect('hog', '.State.OOMKilled')).toBe('true');
  });

  it('keeps its containers through a kill -9 of containerd', async () => {
    const script = 'i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 8';
    await docker.run('run', '--detach', '--name', 'survivor', 'busybox', 'sh', '-c', script);
    await containerd.restartAfterKill9();
    await waitFor(
      'Docker to reach containerd',
      async () => (await docker.try('exec', 'survivor', 'true')).code === 0,
      30_000,
    );
    await docker.run('exec', 'survivor', 'touch', '/end');
    expect(await docker.run('wait', 'survivor')).toBe('8');
    const lines = (await docker.run('logs', 'survivor')).split('\n').map(Number);
    expect(lines).toEqual(lines.map((_, index) => index + 1));
  });
});
