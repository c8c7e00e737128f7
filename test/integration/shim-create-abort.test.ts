import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leakSnapshot } from '../support/leaks.ts';
import { isAlive, type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

describe.skipIf(process.getuid?.() !== 0)('a Create that its caller gives up', () => {
  let bed: ShimBed;
  let slowRuntime: string;

  beforeAll(async () => {
    bed = await ShimBed.create();
    slowRuntime = join(bed.dir, 'slow-runc');
    const script = `#!/bin/sh
case " $* " in *" create "*) : > ${bed.dir}/creating-$(basename "$PWD"); sleep 1 ;; esac
exec runc "$@"
`;
    writeFileSync(slowRuntime, script);
    chmodSync(slowRuntime, 0o755);
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  /** A shim whose OCI runtime has begun to create. */
  async function creating(id: string): Promise<{ shim: Shim; pid: number; created: Promise<unknown> }> {
    const shim = await bed.shim(id, { args: ['sleep', '1000'] });
    const created = shim.create({}, slowRuntime).catch((error: unknown) => error);
    await waitFor('the runtime to begin', () => readdirSync(bed.dir).includes(`creating-${id}`));
    return { shim, pid: shim.pid, created };
  }

  function expectNothing({ id, bundle }: Shim): void {
    expect(leakSnapshot({ dir: bundle }).mounts).toEqual([]);
    expect(readdirSync(join(bed.runtimeRoot(slowRuntime), bed.namespace))).not.toContain(id);
  }

  it('is undone when the container is deleted, after which Shutdown ends the shim', async () => {
    const { shim, pid, created } = await creating('deleted');
    await expect(shim.call('Delete')).rejects.toMatchObject({ code: 'not_found' });
    expect(await created).toMatchObject({ code: 'canceled' });
    expectNothing(shim);
    await shim.call('Shutdown');
    await waitFor('the shim to end', () => !isAlive(pid));
  });

  it('is undone when the container is killed', async () => {
    const { shim, created } = await creating('killed');
    await expect(shim.call('Kill', { signal: 9 })).rejects.toMatchObject({ code: 'not_found' });
    expect(await created).toMatchObject({ code: 'canceled' });
    expectNothing(shim);
  });

  it('is undone when the connection is lost, and the shim ends', async () => {
    const { shim, pid } = await creating('lost');
    shim.disconnect();
    await waitFor('the shim to end', () => !isAlive(pid));
    expectNothing(shim);
  });
});

describe.skipIf(process.getuid?.() !== 0)('a shim that is told to end', () => {
  let bed: ShimBed;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it('by SIGTERM ends once its container has ended and no daemon is there any more', async () => {
    const shim = await bed.shim('term', { args: ['sleep', '1000'] });
    const init = await shim.create();
    await shim.call('Start');
    const { pid } = shim;
    process.kill(pid, 'SIGTERM');
    expect(await shim.call('State')).toMatchObject({ status: 'RUNNING' });
    process.kill(init, 'SIGKILL');
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 137 });
    expect(await shim.call('State')).toMatchObject({ status: 'STOPPED' });
    shim.disconnect();
    await waitFor('the shim to end', () => !isAlive(pid));
    expect(bed.topics()).toContain('/tasks/exit');
  });

  it('by Shutdown stays for a container that is there, also when it is to be now', async () => {
    const shim = await bed.shim('now', { args: ['sleep', '1000'] });
    await shim.create();
    const { pid } = shim;
    await shim.call('Shutdown', { now: true });
    expect(await shim.call('State')).toMatchObject({ status: 'CREATED' });
    await bed.stopListening();
    await shim.call('Delete');
    await shim.call('Shutdown', { now: true });
    await waitFor('the shim to end', () => !isAlive(pid));
    await bed.listen();
  });
});
