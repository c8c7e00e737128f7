import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { isCode } from '#common/errors.ts';
import { patient, useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { shimProcesses } from '../support/shim-processes.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri();
let clean: LeakSnapshot;

beforeAll(async () => {
  clean = await suite.clean();
});

type Victim = 'berth-cri' | 'berthd' | 'both';
const victims: readonly Victim[] = ['berth-cri', 'berthd', 'both'];

/** kill -9, then `meanwhile`, then a start. */
async function kill9(victim: Victim, meanwhile: () => unknown = () => undefined): Promise<void> {
  const daemons = [
    ...(victim === 'berthd' ? [] : [suite.berth.cri]),
    ...(victim === 'berth-cri' ? [] : [suite.berth.berthd.daemon]),
  ];
  await Promise.all(daemons.map((daemon) => daemon.kill9()));
  await meanwhile();
  // berth-cri waits for berthd: the order doesn't matter.
  await Promise.all(daemons.map((daemon) => daemon.start()));
}

/** Numbers, one a line, until SIGTERM; then a last word and exit code 6. */
const counting = 'trap "echo last; exit 6" TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 5000; done';

function expectCounted(lines: readonly string[]): void {
  expect(lines.at(-1)).toBe('last');
  expect(lines.slice(0, -1)).toEqual(lines.slice(0, -1).map((_, index) => String(index)));
  expect(lines.length).toBeGreaterThan(20);
}

async function removeEverything(): Promise<void> {
  const { runtime } = suite.cri;
  for (const { id } of (await runtime.listPodSandbox({}, patient)).items) await suite.removePod(id);
  expect((await runtime.listPodSandbox({}, patient)).items).toEqual([]);
  expect((await runtime.listContainers({}, patient)).containers).toEqual([]);
}

describe.each(victims)('after kill -9 of %s', (victim) => {
  it('containers go on, no line is lost or doubled, and the exit code is there', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', counting));
    const before = await suite.status(container);
    const network = (await runtime.podSandboxStatus({ podSandboxId: id })).status?.network;
    for (let round = 0; round < 3; round += 1) {
      await sleep(100);
      await kill9(victim, () => sleep(100));
    }
    expect(await suite.status(container)).toEqual({ ...before });
    expect((await runtime.podSandboxStatus({ podSandboxId: id }, patient)).status).toMatchObject({
      state: 'SANDBOX_READY',
      network,
    });
    expect((await suite.exec(container, 'hostname')).trim()).toBe(pod.metadata?.name);
    await runtime.stopContainer({ containerId: container, timeout: 30 }, patient);
    expect(await suite.status(container)).toMatchObject({ exitCode: 6, reason: 'Error' });
    expectCounted(suite.log(pod, 'c'));
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('an exit that happened meanwhile is known, with the last line before it', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const failing = await suite.start(id, pod, suite.containerConfig('failing', 'sleep 0.5; echo last; exit 42'));
    const well = await suite.start(id, pod, suite.containerConfig('well', 'sleep 0.5; echo done'));
    await kill9(victim, () => sleep(1_000));
    expect(await suite.exited(failing)).toMatchObject({ exitCode: 42, reason: 'Error' });
    expect(await suite.exited(well)).toMatchObject({ exitCode: 0, reason: 'Completed' });
    expect(suite.log(pod, 'failing')).toEqual(['last']);
    expect(suite.log(pod, 'well')).toEqual(['done']);
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('a pod whose shims answer late goes on', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const container = await suite.start(id, pod, suite.containerConfig('c', counting));
    const shims = shimProcesses('k8s.io').filter((shim) => shim.id === id || shim.id === container);
    expect(shims).toHaveLength(2);
    for (const { pid } of shims) process.kill(pid, 'SIGSTOP');
    await kill9(victim);
    for (const { pid } of shims) process.kill(pid, 'SIGCONT');
    expect((await suite.status(container)).state).toBe('CONTAINER_RUNNING');
    expect((await runtime.podSandboxStatus({ podSandboxId: id })).status?.state).toBe('SANDBOX_READY');
    await waitFor('its statistics', async () => {
      return (await runtime.containerStats({ containerId: container }, patient)).stats?.memory !== null;
    });
    await runtime.stopContainer({ containerId: container, timeout: '10' }, patient);
    expect((await suite.status(container)).exitCode).toBe(6);
    await suite.removePod(id);
    await removeEverything();
  });

  it('a container that was only created can be started, one that has exited stays so', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const exited = await suite.start(id, pod, suite.containerConfig('exited', 'exit 3'));
    const end = await suite.exited(exited);
    const created = await suite.create(id, pod, suite.containerConfig('created', 'echo started'));
    await kill9(victim);
    expect(await suite.status(exited)).toEqual(end);
    expect((await suite.status(created)).state).toBe('CONTAINER_CREATED');
    await runtime.startContainer({ containerId: created }, patient);
    expect(await suite.exited(created)).toMatchObject({ exitCode: 0 });
    expect(suite.log(pod, 'created')).toEqual(['started']);
    // Names are remembered, too.
    await expect(suite.runPod(pod)).rejects.toMatchObject({ code: 'already_exists' });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('a stop that was under way is carried through by the next call', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const stubborn = suite.containerConfig('c', 'trap "" TERM; echo up; while :; do sleep 0.05; done');
    const container = await suite.start(id, pod, stubborn);
    await suite.logged(pod, 'c', 'up');
    const first = runtime.stopContainer({ containerId: container, timeout: 2 }).catch(() => undefined);
    await sleep(200);
    await kill9(victim);
    await first;
    await runtime.stopContainer({ containerId: container, timeout: 1 }, patient);
    expect(await suite.status(container)).toMatchObject({ exitCode: 137 });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('a pod whose pause process died meanwhile is not ready, and can be removed', async () => {
    const { runtime } = suite.cri;
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const info = JSON.parse((await runtime.podSandboxStatus({ podSandboxId: id, verbose: true })).info.info ?? '') as {
      pid: number;
    };
    await kill9(victim, () => process.kill(info.pid, 'SIGKILL'));
    await waitFor('the pod to be not ready', async () => {
      const { status } = await runtime.podSandboxStatus({ podSandboxId: id }, patient);
      return status?.state === 'SANDBOX_NOTREADY';
    });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});

describe.each(['berth-cri', 'both'] as const)('after kill -9 of %s', (victim) => {
  it('commands that nobody waits for any more are ended, with all that they started', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const containerId = await suite.start(id, pod, suite.containerConfig('c', 'while :; do sleep 0.1; done'));
    const commands = async () => (await suite.exec(containerId, 'ps', '-o', 'args')).match(/sleep 61\d/g) ?? [];
    const cmd = ['sh', '-c', 'sleep 611 & sleep 612'];
    const lost = suite.cri.runtime.execSync({ containerId, cmd, timeout: 0 }).catch(() => undefined);
    await waitFor('the command', async () => (await commands()).length === 2);
    // That of the look is removed behind its answer.
    const folder = await waitFor('the folder of the command alone', () => {
      const [first, ...others] = readdirSync(join(suite.dir, 'state/cri/exec'));
      return others.length === 0 && first;
    });
    const execId = folder.slice(containerId.length + 1);
    await kill9(victim);
    await lost;
    await waitFor('the command to be gone', async () => (await commands()).length === 0);
    using core = suite.berth.berthd.clients('k8s.io');
    await waitFor('its record to be gone', async () => {
      const gone = core.tasks.get({ containerId, execId }).then(
        () => false,
        (error: unknown) => isCode(error, 'not_found'),
      );
      return await gone;
    });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});

describe.each(victims)('kill -9 of %s in the middle of', (victim) => {
  /** Spread over the time that the calls take. */
  const delays = [0, 30, 70, 120, 200];

  it('RunPodSandbox leaves a whole pod or nothing', async () => {
    for (const delay of delays) {
      const call = suite.runPod(suite.podConfig()).catch(() => undefined);
      await sleep(delay);
      await kill9(victim);
      await call;
      await removeEverything();
    }
    await expectNoLeaks(suite.scope, clean);
  });

  it('CreateContainer and StartContainer leaves nothing that can’t be removed', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    for (const [index, delay] of delays.entries()) {
      const call = suite.start(id, pod, suite.containerConfig(`c${index}`, counting)).catch(() => undefined);
      await sleep(delay);
      await kill9(victim);
      await call;
      const { containers } = await suite.cri.runtime.listContainers({}, patient);
      for (const { id: containerId, state } of containers) {
        if (state === 'CONTAINER_RUNNING') {
          await suite.cri.runtime.stopContainer({ containerId, timeout: 30 }, patient);
          expect(await suite.status(containerId)).toMatchObject({ exitCode: 6 });
        }
        await suite.cri.runtime.removeContainer({ containerId }, patient);
      }
    }
    await removeEverything();
    await expectNoLeaks(suite.scope, clean);
  });

  it('StopPodSandbox and RemovePodSandbox hinders neither from being done again', async () => {
    for (const delay of delays) {
      const pod = suite.podConfig();
      const id = await suite.runPod(pod);
      await suite.start(id, pod, suite.containerConfig('c', counting));
      const call = suite.removePod(id).catch(() => undefined);
      await sleep(delay);
      await kill9(victim);
      await call;
      await removeEverything();
    }
    await expectNoLeaks(suite.scope, clean);
  });
});
