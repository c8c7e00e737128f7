import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ShimBed } from '../support/shim-bed.ts';

describe.skipIf(process.getuid?.() !== 0)('a Kill of all that runs in a container', () => {
  let bed: ShimBed;
  /** Kills, and then misses the cgroup: a deletion was faster. */
  let lateRuntime: string;

  beforeAll(async () => {
    bed = await ShimBed.create();
    lateRuntime = join(bed.dir, 'late-runc');
    const script = `#!/bin/sh
case " $* " in *" kill "*)
  runc "$@" || exit
  sleep 0.3
  echo "lstat /sys/fs/cgroup/devices/gone: no such file or directory" >&2
  exit 1 ;;
esac
exec runc "$@"
`;
    writeFileSync(lateRuntime, script);
    chmodSync(lateRuntime, 0o755);
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it('finds nothing to kill when the container has ended under the hands of the OCI runtime', async () => {
    const shim = await bed.shim('late', { args: ['sleep', '1000'] });
    await shim.create({}, lateRuntime);
    await shim.call('Start');
    await expect(shim.call('Kill', { signal: 9, all: true })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('process already finished'),
    });
    await shim.call('Delete');
    await shim.call('Shutdown');
  });
});
