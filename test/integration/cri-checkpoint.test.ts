import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { goesOn, startCounting } from '../support/counting-container.ts';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks } from '../support/leaks.ts';

const suite = useCri();
const criu = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'criu')));

describe('a checkpoint', () => {
  it('is refused for what it can’t be made of, or go to', async () => {
    const location = join(suite.dir, 'refused.tar');
    const { runtime } = suite.cri;
    await expect(runtime.checkpointContainer({ containerId: 'none', location })).rejects.toMatchObject({
      code: 'not_found',
    });
    const { id, podId, pod } = await startCounting(suite);
    await expect(runtime.checkpointContainer({ containerId: id, location: 'here.tar' })).rejects.toThrow(
      /location "here.tar" must be the absolute path/,
    );
    const made = await suite.create(podId, pod, suite.containerConfig('made', 'true'));
    await expect(runtime.checkpointContainer({ containerId: made, location })).rejects.toMatchObject({
      code: 'failed_precondition',
    });
    await suite.removePod(podId);
    expect(existsSync(location)).toBe(false);
  });

  it('needs criu, and lets the container go on without it', async ({ skip }) => {
    skip(criu, 'criu is installed');
    const before = await suite.clean();
    const counter = await startCounting(suite);
    const { id, podId } = counter;
    const location = join(suite.dir, 'no-criu.tar');
    await expect(suite.cri.runtime.checkpointContainer({ containerId: id, location })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('criu'),
    });
    await goesOn(suite, counter);
    expect(readdirSync(join(suite.dir, 'root/cri/checkpoints'))).toEqual([]);
    expect(existsSync(location)).toBe(false);
    await suite.removePod(podId);
    await expectNoLeaks(suite.scope, before);
  });
});
