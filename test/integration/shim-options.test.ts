import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readProc } from '../support/leaks.ts';
import { isAlive, ShimBed } from '../support/shim-bed.ts';
import { waitFor } from '../support/wait-for.ts';

describe.skipIf(process.getuid?.() !== 0)("the options and flags of a shim's client", () => {
  let bed: ShimBed;

  beforeAll(async () => {
    bed = await ShimBed.create();
  });
  afterAll(() => bed[Symbol.asyncDispose]());

  it('reach the OCI runtime', async () => {
    // systemd isn't everywhere: a runtime stands in that notes its words and leaves systemd out.
    const runtime = join(bed.dir, 'noting');
    const script = `#!/bin/sh
echo "$*" >> ${bed.dir}/words
for word; do
  shift
  [ "$word" = --systemd-cgroup ] || set -- "$@" "$word"
done
exec runc "$@"
`;
    writeFileSync(runtime, script);
    chmodSync(runtime, 0o755);
    const shim = await bed.shim('options', { args: ['true'] });
    await shim.create({}, runtime, { systemdCgroup: true, noPivotRoot: true, noNewKeyring: true });
    await shim.call('Delete');
    const words = readFileSync(join(bed.dir, 'words'), 'utf8').trim().split('\n');
    expect(words[0]).toContain(`--root ${bed.runtimeRoot(runtime)}/${bed.namespace} `);
    expect(words[0]).toMatch(/--no-pivot --no-new-keyring options$/);
    expect(words.filter((line) => !line.includes('--systemd-cgroup'))).toEqual([]);
  });

  it('let a kill of an exec reach what it has started, and nothing else', async () => {
    const shim = await bed.shim('family', { args: ['sleep', '1000'] });
    const init = await shim.create();
    await shim.call('Start');
    const pidsNow = async (): Promise<number[]> =>
      ((await shim.call('Pids')).processes as { pid: number }[]).map(({ pid }) => pid);
    const leader = await shim.exec('parent', ['sh', '-c', 'sh -c "sleep 500 & exit"; sleep 500']);
    const before = await waitFor('the orphan', async () => {
      const pids = await pidsNow();
      const sleeping = pids.filter((pid) => readProc(pid, 'cmdline').includes('500'));
      return sleeping.length >= 2 ? pids : undefined;
    });
    expect(before).toContain(leader);
    await shim.call('Kill', { execId: 'parent', signal: 9, all: true });
    expect(await shim.call('Wait', { execId: 'parent' })).toMatchObject({ exitStatus: 137 });
    await waitFor('the others to end', async () => (await pidsNow()).length === 1);
    expect(isAlive(init)).toBe(true);
  });

  it('are answered with a version and with what the runtime can do', () => {
    const bundle = bed.dir;
    expect(bed.command(bundle, 'v', '-v').toString()).toMatch(/^containerd-shim-berth-v1:\n {2}Version: /);
    const features = JSON.parse(execFileSync('runc', ['features'], { encoding: 'utf8' })) as object;
    expect(bed.command(bundle, 'i', '-info').toString()).toContain(JSON.stringify(features));
  });
});
