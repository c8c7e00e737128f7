import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { Ctr } from '../support/ctr.ts';
import { Dockerd } from '../support/dockerd.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
let docker: Dockerd;
let ctr: Ctr;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(async () => {
  const { dir, berthd, namespace } = suite;
  docker = await Dockerd.start({ dir, containerd: berthd.socket, namespace });
  ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
  await docker.importBusybox('busybox');
  scope = { dir: suite.dir, names: [suite.namespace] };
  clean = leakSnapshot(scope);
});

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(docker.daemon.logTail());
  const left = await docker.run('ps', '--all', '--quiet');
  if (left !== '') await docker.run('rm', '--force', ...left.split('\n'));
});

afterAll(async () => {
  await docker[Symbol.asyncDispose]();
  await expectNoLeaks(scope, clean);
});

/** Starts a container in the background, by its name. */
async function background(name: string, script: string, ...options: readonly string[]): Promise<void> {
  await docker.run('run', '--detach', '--name', name, ...options, 'busybox', 'sh', '-c', script);
}

function status(name: string): Promise<string> {
  return docker.inspect(name, '.State.Status');
}

async function exitCode(name: string): Promise<number | undefined> {
  const [state, code] = (await docker.inspect(name, '.State.Status}} {{.State.ExitCode')).split(' ');
  return state === 'exited' ? Number(code) : undefined;
}

const forever = 'trap "exit 7" TERM; while :; do sleep 0.1; done';

describe('Docker Engine, on the core daemon', () => {
  it('shows the output of a container and passes on its exit code', async () => {
    const script = 'echo out; echo err >&2; exit 3';
    const result = await docker.try('run', '--rm', 'busybox', 'sh', '-c', script);
    expect(result).toEqual({ code: 3, stdout: 'out\n', stderr: 'err\n' });
    const missing = await docker.try('run', '--rm', 'busybox', '/no-such-command');
    expect(missing).toMatchObject({ code: 127, stderr: expect.stringContaining('/no-such-command') });
    await expectNoLeaks(scope, clean);
  });

  it('runs a container in the background that is executed in, listed and stopped', async () => {
    await background('back', `echo started; ${forever}`);
    expect(await docker.try('exec', 'back', 'sh', '-c', 'echo inside; exit 4')).toMatchObject({
      code: 4,
      stdout: 'inside\n',
    });
    expect((await docker.try('exec', 'back', '/no-such-command')).code).toBe(126);
    expect(await docker.run('top', 'back', '-o', 'pid,args')).toContain('trap "exit 7" TERM');
    const id = await docker.inspect('back', '.Id');
    expect(await ctr.table('containers', 'ls')).toContainEqual([id, '-', 'io.containerd.runc.v2']);
    expect(await ctr.table('tasks', 'ls')).toContainEqual([id, await docker.inspect('back', '.State.Pid'), 'RUNNING']);

    await docker.run('stop', 'back');
    expect(await exitCode('back')).toBe(7);
    expect(await ctr.table('containers', 'ls')).toEqual([]);
    await docker.run('start', 'back');
    await docker.run('restart', 'back');
    await waitFor('its third start', async () => (await docker.run('logs', 'back')) === 'started\nstarted\nstarted');
    await docker.run('kill', 'back');
    expect(await docker.run('wait', 'back')).toBe('137');
    await docker.run('rm', 'back');
    await expectNoLeaks(scope, clean);
  });

  it('removes a running container when it is forced to, and one that was to go when it ends', async () => {
    await background('running', `echo one; ${forever}`);
    expect((await docker.try('rm', 'running')).code).toBe(1);
    await docker.run('rm', '--force', 'running');
    await background('vanishing', 'exit 0', '--rm');
    await waitFor('both to be gone', async () => (await docker.run('ps', '--all', '--quiet')) === '');
    expect(await ctr.table('containers', 'ls')).toEqual([]);
    await expectNoLeaks(scope, clean);
  });

  it('follows the log of a container to its end, and sends it any signal', async () => {
    await background('signalled', 'trap "echo caught; exit 3" USR1; echo ready; while :; do sleep 0.05; done');
    const following = docker.start('logs', '--follow', 'signalled');
    await waitFor('it to be ready', async () => (await docker.run('logs', 'signalled')) === 'ready');
    await docker.run('kill', '--signal', 'USR1', 'signalled');
    expect(await following).toMatchObject({ exitCode: 0, stdout: 'ready\ncaught\n' });
    expect(await docker.run('wait', 'signalled')).toBe('3');
  });

  it('changes the limits of a running container', async () => {
    await background('limited', forever, '--memory', '64m');
    await docker.run('update', '--memory', '48m', '--memory-swap', '-1', 'limited');
    const line = await docker.run('stats', '--no-stream', '--format', '{{.MemUsage}}', 'limited');
    expect(line).toMatch(/ \/ 48MiB$/);
  });

  it('sees nothing of other namespaces, nor they of it', async () => {
    await background('own', forever);
    const others = new Ctr(suite.berthd.socket, `${suite.namespace}-pods`, suite.dir);
    await others.run('containers', 'create', '--rootfs', suite.dir, 'pod', 'true');
    expect(await others.table('containers', 'ls')).toEqual([['pod', '-', 'io.containerd.runc.v2']]);
    expect(await docker.run('ps', '--all', '--format', '{{.Names}}')).toBe('own');
    await others.run('containers', 'rm', 'pod');
  });

  it('freezes a container and thaws it', async () => {
    await background('frozen', forever);
    await docker.run('pause', 'frozen');
    expect(await status('frozen')).toBe('paused');
    expect((await docker.try('exec', 'frozen', 'true')).stderr).toContain('paused');
    await docker.run('unpause', 'frozen');
    expect((await docker.try('exec', 'frozen', 'true')).code).toBe(0);
  });

  it('tells what a container uses', async () => {
    await background('busy', 'while :; do :; done', '--memory', '64m');
    const line = await docker.run('stats', '--no-stream', '--format', '{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}', 'busy');
    expect(line).toMatch(/^[1-9][\d.]*% [\d.]+[KM]iB \/ 64MiB 1$/);
  });

  it('says that the kernel killed a container for want of memory', async () => {
    const hog = 'a=x; while :; do a=$a$a; done';
    expect((await docker.try('run', '--name', 'hog', '--memory', '16m', 'busybox', 'sh', '-c', hog)).code).toBe(137);
    expect(await docker.inspect('hog', '.State.OOMKilled')).toBe('true');
  });

  it('attaches to a container and hands on what is typed', async () => {
    await background('listener', 'read line; echo "got $line"; exit 6', '--interactive');
    const attached = docker.start('attach', 'listener');
    attached.stdin?.write('this\n');
    expect(await attached).toMatchObject({ exitCode: 6, stdout: 'got this\n' });
    expect(await docker.run('logs', 'listener')).toBe('got this');
    const piped = docker.start('run', '--rm', '--interactive', 'busybox', 'cat');
    piped.stdin?.end('that\n');
    expect(await piped).toMatchObject({ exitCode: 0, stdout: 'that\n' });
  });

  it('gives a process a terminal', async () => {
    expect(await docker.run('run', '--rm', '--tty', 'busybox', 'sh', '-c', 'tty; echo shown')).toBe(
      '/dev/pts/0\r\nshown',
    );
    await background('terminals', forever, '--tty');
    expect(await docker.run('exec', '--tty', 'terminals', 'tty')).toBe('/dev/pts/1');
  });

  it('has an init process reap and pass on signals', async () => {
    await background('init', 'echo $$; exec sleep 1000', '--init');
    expect(await docker.run('exec', 'init', 'cat', '/proc/1/comm')).toBe('docker-init');
    expect(await docker.run('logs', 'init')).not.toBe('1');
    await docker.run('stop', 'init');
    expect(await exitCode('init')).toBe(143);
  });

  it('starts a container again that fails, as often as it was told', async () => {
    await background('failing', 'echo run; exit 5', '--restart', 'on-failure:2');
    await waitFor('the last of three runs', async () => (await exitCode('failing')) === 5);
    expect(await docker.inspect('failing', '.RestartCount')).toBe('2');
    expect(await docker.run('logs', 'failing')).toBe('run\nrun\nrun');
  });

  it('finds its containers again after its own restart', async () => {
    await background('kept', `echo before; ${forever}`);
    await background('ending', 'while [ ! -e /end ]; do sleep 0.05; done; exit 9');
    const pid = await docker.inspect('ending', '.State.Pid');
    await docker.daemon.stop();
    const fifoDir = join(suite.dir, 'fifo');
    await ctr.run('tasks', 'exec', '--fifo-dir', fifoDir, '--exec-id', 'e', await idOf(pid), 'touch', '/end');
    await waitFor('it to end', async () => (await ctr.table('tasks', 'ls')).some((row) => row[2] === 'STOPPED'));
    await docker.daemon.start();
    await waitFor('the end to be noticed', async () => (await exitCode('ending')) === 9);
    expect(await docker.try('exec', 'kept', 'echo', 'after')).toMatchObject({ code: 0, stdout: 'after\n' });
    await docker.daemon.restartAfterKill9();
    await docker.run('stop', 'kept');
    expect(await exitCode('kept')).toBe(7);
    expect(await docker.run('logs', 'kept')).toBe('before');
  });

  it('keeps its containers through a kill -9 of the core daemon', async () => {
    await background('survivor', 'i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 8');
    await background('busy', 'while :; do :; done', '--memory', '64m');
    await background('ending', 'while [ ! -e /end ]; do sleep 0.05; done; exit 9');
    await background('again', 'echo run; sleep 1000', '--restart', 'always');
    const ending = await docker.inspect('ending', '.State.Pid');
    const again = await docker.inspect('again', '.State.Pid');
    await suite.berthd.daemon.kill9();
    writeFileSync(`/proc/${ending}/root/end`, '');
    process.kill(Number(again), 'SIGKILL');
    await waitFor('both to end', () => !existsSync(`/proc/${ending}`) && !existsSync(`/proc/${again}`));
    await suite.berthd.daemon.start();
    // Its client of berthd tries again after some seconds only.
    await waitFor('Docker to reach berthd', async () => (await docker.try('exec', 'survivor', 'true')).code === 0);
    const stats = await docker.run('stats', '--no-stream', '--format', '{{.MemUsage}}', 'busy');
    expect(stats).toMatch(/ \/ 64MiB$/);
    await docker.run('exec', 'survivor', 'touch', '/end');
    expect(await docker.run('wait', 'survivor')).toBe('8');
    expect(await exitCode('ending')).toBe(9);
    await waitFor('the second run', async () => (await docker.run('logs', 'again')) === 'run\nrun');
    const lines = (await docker.run('logs', 'survivor')).split('\n').map(Number);
    expect(lines).toEqual(lines.map((_, index) => index + 1));
  });
});

/** The id of the container whose init process that is. */
async function idOf(pid: string): Promise<string> {
  const row = (await ctr.table('tasks', 'ls')).find(([, its]) => its === pid);
  if (row?.[0] === undefined) throw new Error(`no task has process ${pid}`);
  return row[0];
}
