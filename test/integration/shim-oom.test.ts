import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

const devour = 'x=a; while :; do x=$x$x; done';

describe.skipIf(process.getuid?.() !== 0)('a kill for want of memory', () => {
  let bed: ShimBed;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  const topics = (id: string): string[] =>
    bed.events.filter(({ event }) => event.containerId === id).map(({ topic }) => topic);

  it('is told of a child whose init lives on', async () => {
    const shim = await bed.shim('child', {
      args: ['sh', '-c', `sh -c '${devour}'; sleep 1000`],
      memoryLimit: 16 << 20,
    });
    await shim.create();
    await shim.call('Start');
    await waitFor('the event', () => topics('child').includes('/tasks/oom'));
    expect(await shim.call('State')).toMatchObject({ status: 'RUNNING' });
    expect(bed.events.find(({ topic }) => topic === '/tasks/oom')?.event).toEqual({ containerId: 'child' });
  });

  it('is told before the exit of an exec that it ended', async () => {
    const shim = await bed.shim('exec', { args: ['sleep', '1000'], memoryLimit: 16 << 20 });
    await shim.create();
    await shim.call('Start');
    await shim.exec('hungry', ['sh', '-c', devour]);
    expect(await shim.call('Wait', { execId: 'hungry' })).toMatchObject({ exitStatus: 137 });
    await waitFor('the exit', () => topics('exec').includes('/tasks/exit'));
    expect(topics('exec').slice(-2)).toEqual(['/tasks/oom', '/tasks/exit']);
  });
});
