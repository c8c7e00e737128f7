import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { removeCgroups } from '../support/cgroups.ts';

const cgroup = `berth-test-own-${process.pid}`;
// Hooks run from the last to the first: this one once the daemon has gone.
afterAll(() => removeCgroups(cgroup));

const suite = useBerthd({
  config: (dir) => {
    const path = join(dir, 'berthd.toml');
    writeFileSync(path, `[cgroup]\npath = "/${cgroup}/berthd"\n`);
    return path;
  },
});

it('the core daemon goes to the cgroup that it is told to, under each controller, also when that is there', async () => {
  const cgroups = () => {
    const lines = readFileSync(`/proc/${suite.berthd.daemon.pid}/cgroup`, 'utf8').trim().split('\n');
    const all = lines.map((line) => line.split(':'));
    // Of v1 what is mounted where everybody looks; "0::PATH" beside it is v2 without controllers.
    const v1 = all.filter(
      ([, controller = '']) => controller !== '' && existsSync(`/sys/fs/cgroup/${controller}/cgroup.procs`),
    );
    return new Set((v1.length > 0 ? v1 : all).map(([, , path]) => path));
  };
  expect([...cgroups()]).toEqual([`/${cgroup}/berthd`]);
  await suite.berthd.daemon.restart();
  expect([...cgroups()]).toEqual([`/${cgroup}/berthd`]);
});
