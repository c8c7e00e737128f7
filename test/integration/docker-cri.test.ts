import { afterAll, beforeAll, expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { Ctr } from '../support/ctr.ts';
import { Dockerd } from '../support/dockerd.ts';

const suite = useCri();
let docker: Dockerd;

beforeAll(async () => {
  docker = await Dockerd.start({ dir: suite.dir, containerd: suite.berth.berthd.socket, namespace: suite.cgroup });
  await docker.importBusybox('busybox');
});

afterAll(async () => {
  await docker?.[Symbol.asyncDispose]();
});

it('Docker Engine and the kubelet share one daemon, and neither sees what is of the other', async () => {
  const { runtime } = suite.cri;
  const pod = suite.podConfig();
  const podSandboxId = await suite.runPod(pod);
  const containerId = await suite.start(podSandboxId, pod, suite.containerConfig('main', 'exec sleep 1000'));
  const run = ['run', '--detach', '--name', 'moby', 'busybox', 'sleep', '1000'];
  const dockerId = await docker.run(...run);

  const ids = async (namespace: string) =>
    (await new Ctr(suite.berth.berthd.socket, namespace, suite.dir).table('containers', 'ls')).map(([id]) => id);
  expect(await ids(suite.cgroup)).toEqual([dockerId]);
  expect((await ids('k8s.io')).sort()).toEqual([podSandboxId, containerId].sort());
  expect((await runtime.listContainers({})).containers.map(({ id }) => id)).toEqual([containerId]);
  expect((await runtime.listPodSandbox({})).items.map(({ id }) => id)).toEqual([podSandboxId]);
  await expect(runtime.containerStatus({ containerId: dockerId })).rejects.toMatchObject({ code: 'not_found' });
  expect(await docker.run('ps', '--all', '--quiet', '--no-trunc')).toBe(dockerId);

  await docker.run('rm', '--force', 'moby');
  expect(await suite.status(containerId)).toMatchObject({ state: 'CONTAINER_RUNNING' });
  await suite.removePod(podSandboxId);
  expect(await docker.run('ps', '--all', '--quiet')).toBe('');
});
