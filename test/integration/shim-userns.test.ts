import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leakSnapshot } from '../support/leaks.ts';
import { readFifo, ShimBed } from '../support/shim-bed.ts';

const hostRoot = 100_000;

describe.skipIf(process.getuid?.() !== 0)('a container in a user namespace', () => {
  let bed: ShimBed;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it('owns its id-mapped root file system and its output, and leaves the layers as they are', async () => {
    const script = '[ -O /bin/busybox ] && echo mine > /dev/stdout; echo made > /made';
    const shim = await bed.shim('userns', { args: ['sh', '-c', script], userNamespace: hostRoot });
    const image = join(bed.dir, 'image');
    const [upper, work] = ['upper', 'work'].map((name) => join(bed.dir, name)) as [string, string];
    for (const folder of [upper, work]) {
      mkdirSync(folder, { mode: 0o755 });
      chownSync(folder, hostRoot, hostRoot);
    }
    // The container's root goes through all of them on its way to its root file system.
    for (const folder of [bed.dir, join(bed.dir, 'bundles'), shim.bundle]) chmodSync(folder, 0o711);
    const map = `0:${hostRoot}:65536`;
    const options = [`uidmap=${map}`, `gidmap=${map}`, `lowerdir=${image}`, `upperdir=${upper}`, `workdir=${work}`];
    const stdout = bed.fifo('out');
    const output = readFifo(stdout);
    const rootfs = [{ type: 'overlay', source: 'overlay', options }];
    await shim.create({ rootfs, stdout }, 'runc', { ioUid: hostRoot, ioGid: hostRoot });
    await shim.call('Start');
    expect(await shim.call('Wait')).toMatchObject({ exitStatus: 0 });
    expect(await output.ended).toBe('mine\n');
    expect(statSync(join(upper, 'made')).uid).toBe(hostRoot);
    expect(statSync(join(image, 'bin/busybox')).uid).toBe(0);
    await shim.call('Delete');
    expect(leakSnapshot({ dir: shim.bundle }).mounts).toEqual([]);
  });
});
