import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { counting, goesOn, startCounting } from '../support/counting-container.ts';
import { patient, useCri } from '../support/cri-suite.ts';
import { expectNoLeaks } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();

/** criu says in a log only what it stumbles over. */
async function checkpoint(containerId: string, location: string): Promise<void> {
  try {
    await suite.cri.runtime.checkpointContainer({ containerId, location, timeout: 120 }, patient);
  } catch (error) {
    const log = / see (\S+)/.exec(String(error))?.[1];
    if (log !== undefined)
      console.error(
        readFileSync(log, 'utf8')
          .match(/^.*(?:Error|Warn).*$/gm)
          ?.join('\n'),
      );
    throw error;
  }
}

describe('a checkpoint', () => {
  it('holds processes, files and descriptions of a container, which goes on', async () => {
    const before = await suite.clean();
    const counter = await startCounting(suite);
    const { id, podId } = counter;
    const location = join(suite.dir, 'whole.tar');
    await checkpoint(id, location);
    await goesOn(suite, counter);
    expect(statSync(location).mode & 0o777).toBe(0o600);
    const names = execFileSync('tar', ['-tf', location], { encoding: 'utf8' }).split('\n');
    for (const name of ['config.dump', 'spec.dump', 'status.dump', 'rootfs-diff.tar', 'dump.log', 'container.log']) {
      expect(names).toContain(`./${name}`);
    }
    expect(names.filter((name) => /^\.\/checkpoint\/core-\d+\.img$/.test(name)).length).toBeGreaterThan(0);
    const read = (name: string) => execFileSync('tar', ['-xOf', location, `./${name}`]);
    expect(JSON.parse(read('config.dump').toString())).toMatchObject({ id, name: 'main', restored: false });
    expect(JSON.parse(read('status.dump').toString())).toMatchObject({ id, state: 'CONTAINER_RUNNING' });
    expect(JSON.parse(read('spec.dump').toString()).process.args).toEqual(['sh', '-c', counting]);
    const changed = execFileSync('tar', ['-tf', '-'], { input: read('rootfs-diff.tar'), encoding: 'utf8' }).split('\n');
    expect(changed).toContain('count');
    expect(readdirSync(join(suite.dir, 'root/cri/checkpoints'))).toEqual([]);
    await suite.removePod(podId);
    await expectNoLeaks(suite.scope, before);
  });

  it('that a crash cuts short lets the container go on at the next start', async () => {
    const counter = await startCounting(suite);
    const { id, podId } = counter;
    const location = join(suite.dir, 'cut.tar');
    const call = suite.cri.runtime.checkpointContainer({ containerId: id, location }, patient).catch(() => undefined);
    await waitFor('the checkpoint to be under way', () => {
      return readdirSync(join(suite.dir, 'root/cri/checkpoints')).includes(id);
    });
    await suite.berth.cri.restartAfterKill9();
    await call;
    await suite.cri.runtime.version({}, patient);
    await goesOn(suite, counter);
    await waitFor('what was left to go', () => readdirSync(join(suite.dir, 'root/cri/checkpoints')).length === 0);
    await suite.removePod(podId);
  });
});
