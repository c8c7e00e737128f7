import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Shim, ShimBed } from '../support/shim-bed.ts';

const shims = 10;
/** The shim gives memory back 15 s after its last call. */
const settleMs = 17_000;

describe.skipIf(process.getuid?.() !== 0)('an idle shim', () => {
  let bed: ShimBed;
  let idle: Shim[];

  beforeAll(async () => {
    bed = await ShimBed.create();
    idle = await Promise.all(
      Array.from({ length: shims }, async (_, n) => {
        const shim = await bed.shim(`idle-${n}`, { args: ['sleep', '1000'] });
        await shim.create();
        await shim.call('Start');
        return shim;
      }),
    );
    await sleep(settleMs);
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it('keeps at most 3 MiB to itself', () => {
    const sizes = idle.map(({ pid }) => privateKiB(pid)).sort((a, b) => a - b);
    expect(sizes[shims / 2]).toBeLessThan(3 * 1024);
  });

  it('is never woken', async () => {
    const before = idle.map(({ pid }) => wakeUps(pid));
    await sleep(3000);
    expect(idle.map(({ pid }) => wakeUps(pid))).toEqual(before);
  });

  it('has given the same back after a hundred execs', async () => {
    const [shim] = idle;
    if (shim === undefined) throw new Error('no shim');
    const before = privateKiB(shim.pid);
    for (let n = 0; n < 100; n++) {
      const execId = `probe-${n}`;
      await shim.exec(execId, ['true']);
      expect(await shim.call('Wait', { execId })).toMatchObject({ exitStatus: 0 });
      await shim.call('Delete', { execId });
    }
    await sleep(settleMs);
    expect(privateKiB(shim.pid) - before).toBeLessThan(1024);
    expect(readdirSync(`/proc/${shim.pid}/fd`).length).toBeLessThan(20);
    expect(readdirSync(shim.bundle).filter((name) => name.includes('probe') || name.includes('runc-'))).toEqual([]);
  });
});

function privateKiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return [...text.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0);
}

/** How often any thread of the process has slept and was woken. */
function wakeUps(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
    return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  }, 0);
}
