import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage, ociArchive } from '../support/busybox-image.ts';
import { Ctr } from '../support/ctr.ts';
import { expectNoLeaks, type LeakScope, leakSnapshot } from '../support/leaks.ts';
import { gvisor, needsPeer } from '../support/peers.ts';
import { waitFor } from '../support/wait-for.ts';

const image = 'example.com/guest:1';

describe("gVisor as the OCI runtime below Berth's shim", () => {
  const suite = useBerthd();
  let ctr: Ctr;
  let run: readonly string[];
  let clean: ReturnType<typeof leakSnapshot>;
  let scope: LeakScope;
  needsPeer(gvisor);

  beforeAll(async () => {
    ctr = new Ctr(suite.berthd.socket, suite.namespace, suite.dir);
    const archive = join(suite.dir, 'guest.tar');
    writeFileSync(archive, ociArchive(busyboxImage(), image));
    await ctr.run('images', 'import', archive);
    // Neither a network of its own nor cgroups: what a machine has of either doesn't matter here.
    const runtime = join(suite.dir, 'runsc');
    const flags = '--platform=systrap --network=none --ignore-cgroups';
    writeFileSync(runtime, `#!/bin/sh\nexec ${gvisor.command('runsc')} ${flags} "$@"\n`, { mode: 0o755 });
    const fifos = join(suite.dir, 'fifo');
    mkdirSync(fifos);
    run = ['run', '--fifo-dir', fifos, '--runc-binary', runtime];
    scope = { dir: suite.dir, names: [suite.namespace] };
    clean = leakSnapshot(scope);
  });

  it('runs a process on its own kernel and hands on its exit status', async () => {
    const result = await ctr.try(...run, '--rm', image, 'once', 'sh', '-c', 'dmesg | head -n 1; exit 6');
    expect(result).toMatchObject({ code: 6, stdout: expect.stringContaining('Starting gVisor') });
    await expectNoLeaks(scope, clean);
  });

  it('executes, kills and deletes', async () => {
    await ctr.run(...run, '--detach', image, 'stays', 'sleep', '1000');
    const said = await ctr.try(
      'tasks',
      'exec',
      '--fifo-dir',
      join(suite.dir, 'fifo'),
      '--exec-id',
      'e',
      'stays',
      'echo',
      'in',
    );
    expect(said).toMatchObject({ code: 0, stdout: 'in\n' });
    await ctr.run('tasks', 'kill', '--signal', 'KILL', 'stays');
    const status = async () => (await ctr.table('tasks', 'ls'))[0]?.at(-1);
    await waitFor('the task to stop', async () => (await status()) === 'STOPPED', 30_000);
    await ctr.try('tasks', 'rm', 'stays');
    await ctr.run('containers', 'rm', 'stays');
    await expectNoLeaks(scope, clean);
  });
});
