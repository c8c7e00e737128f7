import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leakSnapshot } from '../support/leaks.ts';
import { isAlive, readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { suitCrun } from '../support/suit-crun.ts';
import { waitFor } from '../support/wait-for.ts';

const isRoot = process.getuid?.() === 0;

function commandLines(): string[] {
  return execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' }).split('\n');
}

describe.skipIf(!isRoot).each(['runc', 'crun'])('the shim with %s', (runtime) => {
  let bed: ShimBed;
  let undo = (): void => undefined;
  let count = 0;

  beforeAll(async () => {
    bed = await ShimBed.create();
    if (runtime === 'crun') undo = suitCrun(bed.dir);
  });
  afterAll(async () => {
    undo();
    await bed[Symbol.asyncDispose]();
    expect(commandLines().filter((line) => line.includes(bed.namespace))).toEqual([]);
  });

  async function created(args: readonly string[], stdio: object = {}, spec: object = {}): Promise<Shim> {
    const shim = await bed.shim(`${runtime}-${++count}`, { args, ...spec });
    await shim.create(stdio, runtime);
    return shim;
  }
  async function running(args: readonly string[], stdio: object = {}, spec: object = {}): Promise<Shim> {
    const shim = await created(args, stdio, spec);
    await shim.call('Start');
    return shim;
  }
  const topicsOf = ({ id }: Shim): string[] =>
    bed.events.filter(({ event }) => event.containerId === id).map(({ topic }) => topic);

  it('runs a process, tells its exit code and remembers it until Delete', async () => {
    const stdout = bed.fifo(`${runtime}-out`);
    const output = readFifo(stdout);
    const shim = await created(['sh', '-c', 'echo hello; exit 7'], { stdout });
    expect(await shim.call('State')).toMatchObject({ status: 'CREATED', stdout, id: shim.id, bundle: shim.bundle });
    const waiting = shim.call('Wait');
    await shim.call('Start');
    expect(await waiting).toMatchObject({ exitStatus: 7 });
    expect(await output.ended).toBe('hello\n');
    expect(await shim.call('State')).toMatchObject({ status: 'STOPPED', exitStatus: 7 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 7 });
    expect(await shim.call('Delete')).toMatchObject({ exitStatus: 7 });
    await expect(shim.call('State')).rejects.toMatchObject({ code: 'not_found' });
    await waitFor('the events', () => topicsOf(shim).length === 4);
    expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
    const { pid } = shim;
    await shim.call('Shutdown');
    await waitFor('the shim to end', () => !isAlive(pid));
  });

  it('answers task v3 as it does v2', async () => {
    const shim = await running(['sleep', '100']);
    expect(await shim.call('Connect', {}, 'v3')).toMatchObject({ shimPid: shim.pid });
    expect(await shim.call('State', {}, 'v3')).toMatchObject({ status: 'RUNNING' });
    await shim.call('Kill', { signal: 9 }, 'v3');
    expect(await shim.call('Wait', {}, 'v3')).toMatchObject({ exitStatus: 137 });
  });

  it('counts a deadly signal as 128 + n', async () => {
    const shim = await running(['sh', '-c', 'trap "exit 5" TERM; while :; do sleep 0.1; done']);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await shim.call('Kill', { signal: 15 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 5 });
    const other = await running(['sleep', '100']);
    await other.call('Kill', { signal: 9 });
    expect(await other.call('Wait')).toMatchObject({ exitStatus: 137 });
  });

  it('refuses what the state of a process does not allow, in the words its clients know', async () => {
    const shim = await running(['sleep', '100']);
    await expect(shim.call('Start')).rejects.toMatchObject({
      code: 'failed_precondition',
      message: 'cannot start a running process',
    });
    await expect(shim.call('Delete')).rejects.toMatchObject({ code: 'failed_precondition' });
    await expect(shim.create({}, runtime)).rejects.toMatchObject({ code: 'already_exists' });
    await expect(shim.call('State', { execId: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(shim.call('Kill', { signal: 99 })).rejects.toMatchObject({ code: 'invalid_argument' });
    await shim.call('Kill', { signal: 9 });
    await shim.call('Wait');
    await expect(shim.call('Kill', { signal: 9 })).rejects.toMatchObject({
      code: 'not_found',
      message: 'process already finished',
    });
    await expect(shim.call('Start')).rejects.toMatchObject({ message: 'cannot start a stopped process' });
  });

  it('leaves nothing of a container whose command does not exist', async () => {
    const id = `${runtime}-missing`;
    const shim = await bed.shim(id, { args: ['/nonexistent'] });
    await expect(shim.create({}, runtime)).rejects.toThrow(/OCI runtime create failed: .*nonexistent/);
    await expect(shim.call('State')).rejects.toMatchObject({ code: 'not_found' });
    expect(leakSnapshot({ dir: join(bed.dir, 'bundles', id) }).mounts).toEqual([]);
  });

  it('runs execs, with their exit codes, order of events and clean-up', async () => {
    const shim = await running(['sleep', '100']);
    const stdout = bed.fifo(`${runtime}-exec-out`);
    const output = readFifo(stdout);
    await shim.exec('e1', ['sh', '-c', 'echo from exec; exit 3'], { stdout });
    expect(await shim.call('Wait', { execId: 'e1' })).toMatchObject({ exitStatus: 3 });
    expect(await output.ended).toBe('from exec\n');
    expect(await shim.call('State', { execId: 'e1' })).toMatchObject({
      status: 'STOPPED',
      exitStatus: 3,
      execId: 'e1',
    });
    await expect(shim.exec('e1', ['true'])).rejects.toMatchObject({ code: 'already_exists' });
    expect(await shim.call('Delete', { execId: 'e1' })).toMatchObject({ exitStatus: 3 });
    await expect(shim.exec('e2', ['/nonexistent'])).rejects.toThrow(/nonexistent/);
    await shim.call('Delete', { execId: 'e2' });
    const pid = await shim.exec('e3', ['sleep', '50']);
    const { processes } = await shim.call('Pids');
    expect((processes as { pid: number }[]).map((one) => one.pid)).toContain(pid);
    await shim.call('Kill', { execId: 'e3', signal: 9 });
    expect(await shim.call('Wait', { execId: 'e3' })).toMatchObject({ exitStatus: 137 });
    await waitFor('the events', () => topicsOf(shim).at(-1) === '/tasks/exit');
    expect(topicsOf(shim).slice(2, 5)).toEqual(['/tasks/exec-added', '/tasks/exec-started', '/tasks/exit']);
  });

  it('keeps an exec whose start failed as it was created, until it is deleted', async () => {
    const shim = await running(['sleep', '100']);
    await expect(shim.exec('e1', ['/nonexistent'])).rejects.toThrow(/nonexistent/);
    expect(await shim.call('State', { execId: 'e1' })).toMatchObject({ status: 'CREATED', pid: 0, exitStatus: 0 });
    await expect(shim.call('Start', { execId: 'e1' })).rejects.toThrow(/nonexistent/);
    const waiting = shim.call('Wait', { execId: 'e1' });
    waiting.catch(() => undefined);
    expect(await shim.call('Delete', { execId: 'e1' })).toMatchObject({ exitStatus: 0, exitedAt: null });
    await expect(waiting).rejects.toMatchObject({ code: 'not_found' });
    await expect(shim.call('State', { execId: 'e1' })).rejects.toMatchObject({ code: 'not_found' });
    await shim.call('Kill', { signal: 9 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 137 });
  });

  it('publishes the exit of init last of all, and none is lost', async () => {
    const shim = await running(['sleep', '100']);
    for (const execId of ['a', 'b', 'c']) await shim.exec(execId, ['sleep', '100']);
    await shim.call('Kill', { signal: 9 });
    await shim.call('Wait');
    await waitFor('four exits', () => topicsOf(shim).filter((topic) => topic === '/tasks/exit').length === 4);
    const exits = bed.events.filter(({ topic, event }) => topic === '/tasks/exit' && event.containerId === shim.id);
    expect(exits.at(-1)?.event.id).toBe(shim.id);
    await expect(shim.exec('d', ['true'])).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  it('publishes start before exit, however short the process', async () => {
    for (let i = 0; i < 5; i++) {
      const shim = await running(['true']);
      await shim.call('Wait');
      await shim.call('Delete');
      await waitFor('the delete event', () => topicsOf(shim).includes('/tasks/delete'));
      expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
    }
  });

  it('kills what outlives an init that shares the pid namespace', async () => {
    const shim = await running(['sh', '-c', 'sleep 4321 & sleep 4321 & exit 0'], {}, { hostPid: true });
    await shim.call('Wait');
    await waitFor('the others to die', () => !commandLines().some((line) => line.startsWith('sleep 4321')));
  });

  it('deletes a container that was never started', async () => {
    const shim = await created(['sleep', '100']);
    expect(await shim.call('Delete')).toMatchObject({ exitStatus: 137 });
    await waitFor('the delete event', () => topicsOf(shim).includes('/tasks/delete'));
    expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/exit', '/tasks/delete']);
  });

  it('pauses and resumes', async () => {
    const shim = await running(['sleep', '100']);
    await shim.exec('taken', ['true']);
    await shim.call('Pause');
    expect(await shim.call('State')).toMatchObject({ status: 'PAUSED' });
    await expect(shim.call('Pause')).rejects.toMatchObject({ code: 'failed_precondition' });
    // As containerd's shim has it, an id that is taken is the first thing that is wrong.
    await expect(shim.exec('taken', ['true'])).rejects.toMatchObject({ code: 'already_exists' });
    await shim.call('Resume');
    expect(await shim.call('State')).toMatchObject({ status: 'RUNNING' });
    await shim.call('Pause');
    await shim.call('Kill', { signal: 9 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 137 });
  });

  it('tells of a kill for want of memory before the exit that it caused', async () => {
    const shim = await running(['sh', '-c', 'x=a; while :; do x=$x$x; done'], {}, { memoryLimit: 16 << 20 });
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 137 });
    await waitFor('the exit', () => topicsOf(shim).includes('/tasks/exit'));
    expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/start', '/tasks/oom', '/tasks/exit']);
  });

  it('keeps events until a daemon takes them', async () => {
    await bed.stopListening();
    const shim = await running(['true']);
    await shim.call('Wait');
    await shim.call('Delete');
    expect(topicsOf(shim)).toEqual([]);
    await bed.listen();
    await waitFor('the events', () => topicsOf(shim).length === 4);
    expect(topicsOf(shim)).toEqual(['/tasks/create', '/tasks/start', '/tasks/exit', '/tasks/delete']);
  });

  it('"delete" ends a container whose shim was killed', async () => {
    const shim = await running(['sleep', '5432']);
    const { pid } = shim;
    process.kill(pid, 'SIGKILL');
    await waitFor('the shim to end', () => !isAlive(pid));
    expect(bed.command(shim.bundle, shim.id, 'delete').length).toBeGreaterThan(4);
    expect(leakSnapshot({ dir: shim.bundle }).mounts).toEqual([]);
    expect(commandLines().some((line) => line.startsWith('sleep 5432'))).toBe(false);
    expect(existsSync(readFileSync(join(shim.bundle, 'address'), 'utf8').replace('unix://', ''))).toBe(false);
  });

  it('answers "start" again for a shim that lives, and in the form that the daemon knows', async () => {
    const shim = await running(['sleep', '100']);
    const bare = bed.command(shim.bundle, shim.id, 'start').toString();
    expect(bare).toMatch(/^unix:\/\/.*\/[0-9a-f]{64}$/);
    const versioned = bed.command(shim.bundle, shim.id, 'start', { MAX_SHIM_VERSION: '3' }).toString();
    expect(JSON.parse(versioned)).toEqual({ version: 3, address: bare, protocol: 'ttrpc' });
  });

  it('holds no descriptor of its caller and is a session of its own', async () => {
    const shim = await running(['sleep', '100']);
    const targets = execFileSync('ls', ['-l', `/proc/${shim.pid}/fd`], { encoding: 'utf8' });
    expect(targets).not.toMatch(/pipe:/);
    expect(execFileSync('ps', ['-o', 'sid=', '-p', String(shim.pid)], { encoding: 'utf8' }).trim()).toBe(
      String(shim.pid),
    );
  });
});
