import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode, type MessageName } from '#common/wire/codec.ts';
import { type Shim, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

interface Figures {
  readonly pids: { readonly current: string };
  readonly memory: { readonly usage: unknown; readonly usageLimit?: string };
}

describe.skipIf(process.getuid?.() !== 0)("Stats of the shim's task service", () => {
  let bed: ShimBed;
  let shim: Shim;

  beforeAll(async () => {
    bed = await ShimBed.create();
    shim = await bed.shim('stats', { args: ['sleep', '100'], memoryLimit: 32 << 20 });
    await shim.create();
    await shim.call('Start');
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it("has the figures of the container's own cgroup, as the type of the host's version", async () => {
    // At first the OCI runtime's own threads are counted, until it has become the container's process.
    const metrics = await waitFor('the one process', async () => {
      const { stats } = (await shim.call('Stats')) as { stats: { type_url: string; value: Buffer } };
      expect(stats.type_url).toMatch(/^io\.containerd\.cgroups\.v[12]\.Metrics$/);
      const figures = decode(stats.type_url as MessageName, stats.value) as Figures;
      return figures.pids.current === '1' && figures;
    });
    const limit = metrics.memory.usageLimit ?? (metrics.memory.usage as { limit: string }).limit;
    expect(limit).toBe(String(32 << 20));
  });

  it('are not there for a container that has ended', async () => {
    await shim.call('Kill', { signal: 9 });
    await shim.call('Wait');
    await shim.call('Delete');
    await expect(shim.call('Stats')).rejects.toMatchObject({ code: 'not_found' });
  });
});
