import { beforeAll, describe, expect, it } from 'vitest';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, processOf, removeContainer } from '../support/container.ts';
import { exitStorm } from '../support/exit-storm.ts';
import { expectNoLeaks, type LeakScope, type LeakSnapshot, leakSnapshot } from '../support/leaks.ts';

const suite = useBerthd();
let chain: string;
let scope: LeakScope;
let clean: LeakSnapshot;

beforeAll(async () => {
  chain = await importImage(suite.clients, busyboxImage(), 'docker.io/library/busybox:latest');
  scope = { dir: suite.dir, names: [suite.namespace] };
  clean = leakSnapshot(scope);
});

describe('many exits at once', () => {
  it('are each told once and with their own code, and nothing is left of the containers', async () => {
    const exits = await exitStorm(suite, chain, 40);
    expect(exits).toEqual(exits.map((_, index) => ({ waited: index, told: index })));
    await expectNoLeaks(scope, clean);
  });

  it('of commands in one container are told apart', async () => {
    const { tasks } = suite.clients;
    await createContainer(suite, { id: 'host', chain, args: ['sleep', '1000'] });
    await tasks.create({ containerId: 'host' });
    await tasks.start({ containerId: 'host' });
    const codes = Array.from({ length: 30 }, (_, index) => index);
    const exits = await Promise.all(
      codes.map(async (code) => {
        const process = { containerId: 'host', execId: `exec-${code}` };
        const spec = packJson(typeUrls.process, processOf(['sh', '-c', `exit ${code}`]));
        await tasks.exec({ ...process, spec });
        const ended = tasks.wait(process);
        await tasks.start(process, { timeoutMs: 60_000 });
        const { exitStatus } = await ended;
        await tasks.deleteProcess(process);
        return exitStatus;
      }),
    );
    expect(exits).toEqual(codes);
    await tasks.kill({ containerId: 'host', signal: 9 });
    await tasks.wait({ containerId: 'host' });
    await tasks.delete({ containerId: 'host' });
    await removeContainer(suite, 'host');
    await expectNoLeaks(scope, clean);
  });
});
