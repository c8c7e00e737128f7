import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { removeCgroups } from '../support/cgroups.ts';
import { Ctr, ctrKinds } from '../support/ctr.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useBerthd();
const image = 'example.com/tasks:1';

describe.each(ctrKinds)('containers and tasks by the $kind ctr', ({ kind, program, missing }) => {
  let ctr: Ctr;
  let namespace: string;
  const fifos = () => ['--fifo-dir', join(suite.dir, `fifo-${kind}`)];
  beforeEach(({ skip }) => skip(missing !== undefined, missing));
  beforeAll(async () => {
    namespace = `${suite.namespace}-${kind}`;
    ctr = new Ctr(suite.berthd.socket, namespace, suite.dir, { program });
    const archive = join(suite.dir, `${kind}.tar`);
    writeFileSync(archive, ociArchive(busyboxImage(), image));
    if (missing === undefined) await ctr.run('images', 'import', archive);
  });
  afterAll(() => removeCgroups(namespace));

  /** Runs a command on a terminal of 40 rows and 100 columns, and answers what that shows. */
  async function onTerminal(input: string, ...args: readonly string[]): Promise<string> {
    const quoted = ctr.commandLine(...args).map((word) => `'${word}'`);
    const command = `stty rows 40 cols 100; exec ${quoted.join(' ')}`;
    const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null']);
    let shown = '';
    let typed = false;
    child.stdout.on('data', (data) => {
      shown += String(data);
      if (typed || !shown.includes('ready')) return;
      typed = true;
      child.stdin.write(input);
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    return `${shown}exit ${code}`;
  }

  it('run: on a terminal of the size that it has here, which takes what is typed', async () => {
    // ctr sets the size when the process runs already.
    const sized = 'until [ "$(stty size 2>/dev/null)" = "40 100" ]; do sleep 0.05; done';
    const script = `${sized}; tty; echo ready; read line; echo "got $line"; exit 5`;
    const shown = await onTerminal(
      'words\n',
      'run',
      ...fifos(),
      '--rm',
      '--tty',
      image,
      'terminal',
      'sh',
      '-c',
      script,
    );
    expect(shown).toMatch(/^\/dev\/(pts\/0|console)\r+\nready\r+\n/m);
    expect(shown).toMatch(/got words\r+\n/);
    expect(shown).toMatch(/exit 5$/);
  });

  it('create, start, exec, ps, pause, resume, kill, rm: a container from its first to its last hour', async () => {
    await ctr.run('containers', 'create', '--label', 'colour=blue', image, 'life', 'sleep', '1000');
    expect(JSON.parse(await ctr.run('containers', 'info', 'life'))).toMatchObject({
      ID: 'life',
      Labels: { colour: 'blue' },
    });
    await ctr.run('containers', 'label', 'life', 'colour=red');
    expect(await ctr.table('containers', 'ls', 'labels.colour==red')).toHaveLength(1);
    await ctr.run('tasks', 'start', '--detach', ...fifos(), 'life');
    const [row] = await ctr.table('tasks', 'ls');
    expect(row).toEqual(['life', expect.stringMatching(/^\d+$/), 'RUNNING']);

    const exec = ['tasks', 'exec', ...fifos(), '--exec-id'];
    const said = await ctr.try(...exec, 'say', '--cwd', '/tmp', 'life', 'sh', '-c', 'pwd; exit 3');
    expect(said).toMatchObject({ code: 3, stdout: '/tmp\n' });
    await ctr.run(...exec, 'stay', '--detach', 'life', 'sleep', '1000');
    expect((await ctr.try(...exec, 'stay', 'life', 'true')).stderr).toMatch(/^ctr: id stay/);
    expect(await ctr.table('tasks', 'ps', 'life')).toHaveLength(2);

    await ctr.run('tasks', 'pause', 'life');
    expect((await ctr.table('tasks', 'ls'))[0]?.at(-1)).toBe('PAUSED');
    await ctr.run('tasks', 'resume', 'life');
    await ctr.run('tasks', 'kill', '--signal', 'KILL', '--exec-id', 'stay', 'life');
    await waitFor(
      'the second process to end',
      async () => (await ctr.table('tasks', 'ps', 'life')).length === 1,
      30_000,
    );
    await ctr.run('tasks', 'kill', '--signal', 'KILL', 'life');
    await waitFor('the task to stop', async () => (await ctr.table('tasks', 'ls'))[0]?.at(-1) === 'STOPPED', 30_000);
    expect((await ctr.try('tasks', 'rm', 'life')).stderr).toContain('exit code 137');
    await ctr.run('containers', 'rm', 'life');
    expect((await ctr.try('containers', 'info', 'life')).stderr).toContain('not found');
  });

  it('attach: what a task that is under way says', async () => {
    const script = 'while :; do echo tick; sleep 0.05; done';
    await ctr.run('run', ...fifos(), '--detach', image, 'talks', 'sh', '-c', script);
    const attached = ctr.start('tasks', 'attach', 'talks');
    let said = '';
    attached.stdout.on('data', (data) => {
      said += String(data);
    });
    await waitFor('words of the task', () => said.includes('tick'), 30_000);
    await ctr.run('tasks', 'kill', '--signal', 'KILL', 'talks');
    await new Promise((resolve) => attached.once('close', resolve));
    await ctr.try('tasks', 'rm', '--force', 'talks');
    await ctr.run('containers', 'rm', 'talks');
  });

  it('run with limits, metrics: what the kernel counts', async () => {
    const limits = ['--memory-limit', String(64 << 20), '--cpu-quota', '50000', '--cpu-period', '100000'];
    await ctr.run('run', ...fifos(), '--detach', ...limits, image, 'counted', 'sleep', '1000');
    expect(await ctr.run('tasks', 'metrics', 'counted')).toMatch(/memory\.\S+\s+\d+/);
    const metrics = await ctr.run('tasks', 'metrics', '--format', 'json', 'counted');
    expect(metrics).toContain(String(64 << 20));
    await ctr.try('tasks', 'rm', '--force', 'counted');
    await ctr.run('containers', 'rm', 'counted');
  });

  it('checkpoint: is refused for a running task, which goes on; one of a container alone is an image', async () => {
    await ctr.run('run', ...fifos(), '--detach', image, 'kept', 'sleep', '1000');
    const refused = await ctr.try('tasks', 'checkpoint', 'kept');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^ctr: .*checkpoint/);
    expect((await ctr.table('tasks', 'ls'))[0]?.at(-1)).toBe('RUNNING');
    await ctr.run('containers', 'checkpoint', 'kept', 'example.com/checkpoint:1');
    expect((await ctr.run('images', 'ls', '-q')).split('\n')).toContain('example.com/checkpoint:1');
    await ctr.try('tasks', 'rm', '--force', 'kept');
    await ctr.run('containers', 'rm', 'kept');
  });
});
