import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
const image = 'docker.io/library/busybox:latest';
let ctr: Ctr;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(async () => {
  ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
  const archive = join(suite.dir, 'busybox.tar');
  writeFileSync(archive, ociArchive(busyboxImage({ cmd: ['echo', 'from the image'] }), image));
  await ctr.run('images', 'import', archive);
  scope = { dir: suite.dir, names: [suite.namespace] };
});

beforeEach(() => {
  clean = leakSnapshot(scope);
});

async function taskStatus(id: string): Promise<string | undefined> {
  return (await ctr.table('tasks', 'ls')).find(([name]) => name === id)?.[2];
}

describe('ctr run, against the core daemon', () => {
  it('shows output and passes on the exit code', async () => {
    const result = await ctr.runContainer('--rm', image, 'shown', 'sh', '-c', 'echo out; echo err >&2; exit 3');
    expect(result).toMatchObject({ code: 3, stdout: 'out\n', stderr: expect.stringContaining('err\n') });
    await expectNoLeaks(scope, clean);
  });

  it('takes the command of the image when none is given', async () => {
    expect(await ctr.runContainer('--rm', image, 'default')).toMatchObject({ code: 0, stdout: 'from the image\n' });
  });

  it('passes environment, mounts, working directory and limits', async () => {
    const result = await ctr.runContainer(
      ...['--rm', '--env', 'KEY=value', '--cwd', '/tmp', '--memory-limit', String(32 * 1024 * 1024)],
      ...['--mount', `type=bind,src=${suite.dir}/logs,dst=/logs,options=rbind:ro`],
      ...[image, 'settings', 'sh', '-c', 'echo $KEY; pwd; ls /logs; touch /logs/x 2>/dev/null || echo read-only'],
    );
    expect(result.stdout).toBe('value\n/tmp\nberthd.log\nread-only\n');
  });

  it('puts a container in the background, where it is listed, executed in, killed and removed', async () => {
    const started = await ctr.runContainer('-d', image, 'back', 'sleep', '1000');
    expect(started).toMatchObject({ code: 0 });
    expect(await taskStatus('back')).toBe('RUNNING');
    expect(await ctr.table('containers', 'ls')).toContainEqual(['back', image, 'io.containerd.runc.v2']);
    const exec = await ctr.try(
      'tasks',
      'exec',
      '--fifo-dir',
      join(suite.dir, 'fifo'),
      '--exec-id',
      'e',
      'back',
      'sh',
      '-c',
      'echo inside; exit 4',
    );
    expect(exec).toMatchObject({ code: 4, stdout: 'inside\n' });
    expect(await ctr.run('tasks', 'ps', 'back')).toMatch(/PID\s+INFO\s+\d+/);

    const refused = await ctr.try('containers', 'rm', 'back');
    expect(refused.stderr).toMatch(/running|non stopped|failed precondition/);
    await ctr.run('tasks', 'kill', '--signal', 'SIGKILL', 'back');
    await waitFor('the task to stop', async () => (await taskStatus('back')) === 'STOPPED');
    expect((await ctr.try('tasks', 'rm', 'back')).stderr).toContain('exit code 137');
    await ctr.run('containers', 'rm', 'back');
    expect(await ctr.table('containers', 'ls')).toEqual([]);
    await expectNoLeaks(scope, clean);
  });

  it('pauses and resumes a container', async () => {
    await ctr.runContainer('-d', image, 'paused', 'sleep', '1000');
    await ctr.run('tasks', 'pause', 'paused');
    expect(await taskStatus('paused')).toBe('PAUSED');
    await ctr.run('tasks', 'resume', 'paused');
    expect(await taskStatus('paused')).toBe('RUNNING');
    await ctr.run('tasks', 'kill', '--signal', 'SIGKILL', 'paused');
    await waitFor('the task to stop', async () => (await taskStatus('paused')) === 'STOPPED');
    await ctr.try('tasks', 'rm', 'paused');
    await ctr.run('containers', 'rm', 'paused');
  });

  it('removes a running container by force', async () => {
    await ctr.runContainer('-d', image, 'forced', 'sleep', '1000');
    await ctr.try('tasks', 'rm', '--force', 'forced');
    await ctr.run('containers', 'rm', 'forced');
    await expectNoLeaks(scope, clean);
  });

  it('names a command that does not exist, and leaves nothing', async () => {
    const result = await ctr.runContainer('--rm', image, 'no-command', '/bin/no-such-command');
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain('/bin/no-such-command');
    expect(await ctr.table('containers', 'ls')).toEqual([]);
    await expectNoLeaks(scope, clean);
  });

  it('refuses a name that is taken or malformed', async () => {
    await ctr.run('containers', 'create', image, 'taken', 'true');
    expect((await ctr.try('containers', 'create', image, 'taken', 'true')).stderr).toMatch(/already exists/);
    expect((await ctr.try('containers', 'create', image, '-bad/id', 'true')).code).not.toBe(0);
    expect((await ctr.try('containers', 'create', image, 'bad/id', 'true')).stderr).toContain('bad/id');
    await ctr.run('containers', 'rm', 'taken');
    await expectNoLeaks(scope, clean);
  });

  it('keeps the daemon going through a kill -9 with its containers', async () => {
    await ctr.runContainer('-d', image, 'survivor', 'sh', '-c', 'trap "exit 8" TERM; while :; do sleep 0.05; done');
    await suite.berthd.daemon.restartAfterKill9();
    expect(await taskStatus('survivor')).toBe('RUNNING');
    await ctr.run('tasks', 'kill', 'survivor');
    await waitFor('the task to stop', async () => (await taskStatus('survivor')) === 'STOPPED');
    expect((await ctr.try('tasks', 'rm', 'survivor')).stderr).toContain('exit code 8');
    await ctr.run('containers', 'rm', 'survivor');
    await expectNoLeaks(scope, clean);
  });
});
