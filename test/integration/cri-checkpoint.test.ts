import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks } from '../support/leaks.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
const criu = (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, 'criu')));

/** What a container of these tests does: count, so that it is seen whether it goes on. */
const counting = 'n=0; while :; do n=$((n+1)); echo $n; echo $n > /count; sleep 0.05; done';

async function running(): Promise<{ id: string; podId: string; pod: ReturnType<typeof suite.podConfig> }> {
  const pod = suite.podConfig();
  const podId = await suite.runPod(pod);
  const id = await suite.start(podId, pod, suite.containerConfig('main', counting));
  await suite.logged(pod, 'main', '2');
  return { id, podId, pod };
}

function lines(pod: { logDirectory: string }): number {
  return suite.log(pod, 'main').length;
}

/** Waits until the container has said more. */
async function goesOn(pod: { logDirectory: string }): Promise<void> {
  const before = lines(pod);
  await waitFor('the container to go on', () => lines(pod) > before + 2);
}

describe('a checkpoint', () => {
  it('is refused for what it can’t be made of, or go to', async () => {
    const location = join(suite.dir, 'refused.tar');
    const { runtime } = suite.cri;
    await expect(runtime.checkpointContainer({ containerId: 'none', location })).rejects.toMatchObject({
      code: 'not_found',
    });
    const { id, podId, pod } = await running();
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
    const { id, podId, pod } = await running();
    const location = join(suite.dir, 'no-criu.tar');
    await expect(suite.cri.runtime.checkpointContainer({ containerId: id, location })).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('criu'),
    });
    await goesOn(pod);
    expect(readdirSync(join(suite.dir, 'root/cri/checkpoints'))).toEqual([]);
    expect(existsSync(location)).toBe(false);
    await suite.removePod(podId);
    await expectNoLeaks(suite.scope, before);
  });
});
