import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { waitFor } from '../support/wait-for.ts';
import { type Left, leftFile } from './power-cut.ts';
import { daemons, nodeClients, patient, podConfig, property, systemctl } from './units.ts';

const left = JSON.parse(readFileSync(leftFile, 'utf8')) as Left;
const { core, cri } = nodeClients();

afterAll(() => {
  core[Symbol.dispose]();
  cri[Symbol.dispose]();
});

describe('after a power cut', () => {
  it('both daemons come up by themselves', async () => {
    await waitFor('both to be up', () => daemons.every((unit) => property(unit, 'ActiveState') === 'active'), 120_000);
    expect(daemons.map((unit) => property(unit, 'NRestarts'))).toEqual(['0', '0']);
  });

  it('the pods are known, and known to have ended', async () => {
    const { items } = await cri.runtime.listPodSandbox({}, patient);
    expect(items.map(({ id }) => id).sort()).toEqual([...left.pods].sort());
    expect(items.map(({ state }) => state)).toEqual(['SANDBOX_NOTREADY', 'SANDBOX_NOTREADY']);
    for (const containerId of left.containers) {
      const { status } = await cri.runtime.containerStatus({ containerId }, patient);
      expect(status?.state).toBe('CONTAINER_EXITED');
      expect(status?.exitCode).not.toBe(0);
    }
    expect((await core.tasks.list({}, patient)).tasks).toEqual([]);
    expect((await core.containers.list({})).containers.map(({ id }) => id)).toContain('operators');
  });

  it('the image is whole, and runs in a new pod', async () => {
    const config = podConfig('third');
    const { podSandboxId } = await cri.runtime.runPodSandbox({ config }, patient);
    const { containerId } = await cri.runtime.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: 'main', attempt: 0 },
        image: { image: left.image },
        command: ['sh', '-c', 'echo again; exit 3'],
        logPath: 'main.log',
        linux: { securityContext: {} },
      },
    });
    await cri.runtime.startContainer({ containerId }, patient);
    await waitFor(
      'the container to end',
      async () => (await cri.runtime.containerStatus({ containerId }, patient)).status?.exitCode === 3,
      60_000,
    );
    expect(readFileSync('/var/log/pods/third/main.log', 'utf8')).toContain('again');
    left.pods.push(podSandboxId);
  });

  it('a container of the operator can be started again', async () => {
    await core.tasks.create({ containerId: 'operators' }, patient);
    await core.tasks.start({ containerId: 'operators' }, patient);
    await core.tasks.kill({ containerId: 'operators', signal: 9 });
    expect(await core.tasks.wait({ containerId: 'operators' })).toMatchObject({ exitStatus: 137 });
    await core.tasks.delete({ containerId: 'operators' });
    await core.containers.delete({ id: 'operators' });
    await core.snapshots.remove({ snapshotter: 'overlayfs', key: 'operators' });
  });

  it('nothing is left of the pods once they are removed', async () => {
    for (const podSandboxId of left.pods) {
      await cri.runtime.stopPodSandbox({ podSandboxId }, patient);
      await cri.runtime.removePodSandbox({ podSandboxId }, patient);
    }
    const given = readdirSync('/var/lib/cni/networks/guest').filter((name) => /^\d/.test(name));
    expect(given).toEqual([]);
    expect(readdirSync('/sys/class/net/berth-guest/brif')).toEqual([]);
    for (const folder of ['cri/netns', 'cri/sandboxes', 'cri/containers', 'io.containerd.runtime.v2.task/k8s.io']) {
      expect(readdirSync(`/run/berth/${folder}`), folder).toEqual([]);
    }
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toMatch(/ \/run\/berth\/\S/);
    expect(systemctl('list-units', '--plain', '--no-legend', 'cri-containerd-*')).toBe('');
  });
});
