import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { leakSnapshot } from '../support/leaks.ts';
import { isAlive, readFifo, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

describe.skipIf(process.getuid?.() !== 0)('a shim that the containers of a pod share', () => {
  let bed: ShimBed;
  let sandbox: Shim;
  let app: Shim;
  let shimPid: number;

  beforeAll(async () => {
    bed = await ShimBed.create();
    sandbox = await bed.shim('sandbox', { args: ['sleep', '1000'], group: 'sandbox' });
    await sandbox.create();
    await sandbox.call('Start');
    shimPid = sandbox.pid;
    app = await bed.shim('app', { args: ['sh', '-c', 'echo up; sleep 1000'], group: 'sandbox' });
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  const eventsOf = (id: string): unknown[] =>
    bed.events.filter(({ event }) => event.containerId === id).map(({ topic }) => topic);

  /** Ends a shim without a container. */
  async function end(address: string): Promise<void> {
    const path = address.replace('unix://', '');
    await using client = await TtrpcClient.connect(path);
    await client.call('containerd.task.v3.Task', 'Shutdown', new Uint8Array());
    await waitFor('the shim to end', () => !existsSync(path));
  }

  it('answers the start of each with its address', () => {
    expect(readFileSync(join(app.bundle, 'address'), 'utf8')).toBe(
      readFileSync(join(sandbox.bundle, 'address'), 'utf8'),
    );
  });

  it('runs them side by side, each with its own output, processes and exit', async () => {
    const stdout = bed.fifo('app-out');
    const output = readFifo(stdout);
    const pid = await app.create({ stdout });
    await app.call('Start');
    await waitFor('the output', () => output.text() === 'up\n');
    expect(await app.call('Connect')).toMatchObject({ shimPid, taskPid: pid });
    expect(app.pid).toBe(shimPid);
    const { processes } = await sandbox.call('Pids');
    expect(processes).toHaveLength(1);
    await app.exec('e', ['sh', '-c', 'exit 4']);
    expect(await app.call('Wait', { execId: 'e' })).toMatchObject({ exitStatus: 4 });
    await app.call('Kill', { signal: 9 });
    expect(await app.call('Wait')).toMatchObject({ exitStatus: 137 });
    expect(await sandbox.call('State')).toMatchObject({ status: 'RUNNING' });
  });

  it('stays for the others when one is deleted, or cleaned up after', async () => {
    await app.call('Delete');
    await app.call('Shutdown');
    await waitFor('the events', () => eventsOf('app').includes('/tasks/delete'));
    bed.command(app.bundle, app.id, 'delete');
    expect(existsSync(readFileSync(join(sandbox.bundle, 'address'), 'utf8').replace('unix://', ''))).toBe(true);
    expect(await sandbox.call('State')).toMatchObject({ status: 'RUNNING' });
    expect(leakSnapshot({ dir: app.bundle }).mounts).toEqual([]);
  });

  it('takes a container again, and goes on without the one that it was started for', async () => {
    await app.create();
    await app.call('Start');
    await sandbox.call('Kill', { signal: 9 });
    await sandbox.call('Wait');
    await sandbox.call('Delete');
    await sandbox.call('Shutdown');
    expect(await app.call('State')).toMatchObject({ status: 'RUNNING' });
  });

  it('ends with the last of them', async () => {
    await app.call('Kill', { signal: 9 });
    await app.call('Wait');
    await app.call('Delete');
    await app.call('Shutdown');
    await waitFor('the shim to end', () => !isAlive(shimPid));
  });

  it('is not shared unless it is asked to be', async () => {
    const args = ['sleep', '1000'];
    const shim = await bed.shim('alone', { args });
    const answer = bed.command(shim.bundle, shim.id, 'start').toString();
    const other = await bed.shim('group', { args, group: 'alone' });
    expect(readFileSync(join(other.bundle, 'address'), 'utf8')).toBe(answer);
    const own = bed.command(other.bundle, other.id, 'start').toString();
    expect(own).not.toBe(answer);
    await end(own);
  });

  it('answers a daemon of containerd 2.3 in its own protocol, and listens where that wants it', async () => {
    const shim = await bed.shim('boot', { args: ['true'] });
    const result = 'containerd.runtime.bootstrap.v1.BootstrapResult';
    const params = { instanceId: 'boot', namespace: bed.namespace, socketDir: join(bed.dir, 'elsewhere') };
    const input = encode('containerd.runtime.bootstrap.v1.BootstrapParams', params);
    const env = { MAX_SHIM_VERSION: '2', BERTH_SHIM_SOCKET_DIR: '' };
    const first = decode(result, bed.command(shim.bundle, 'boot', 'start', env, input));
    expect(first).toMatchObject({ version: 3, protocol: 'ttrpc' });
    expect(first.address).toContain(`unix://${bed.dir}/elsewhere/`);
    await end(first.address);
  });
});
