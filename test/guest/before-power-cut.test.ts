import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';
import { type Left, leftFile } from './power-cut.ts';
import { daemons, installUnits, nodeClients, patient, podConfig, startDaemons, systemctl } from './units.ts';

const image = 'docker.io/library/busybox:guest';

it('a node has pods and a container of the operator', async () => {
  installUnits();
  systemctl('enable', ...daemons);
  await startDaemons();
  const { core, cri } = nodeClients();
  const chain = await importImage(core, busyboxImage(), image);
  await waitFor('the image to be known', async () => {
    return (await cri.image.imageStatus({ image: { image } }, patient)).image !== null;
  });
  const left: Left = { pods: [], containers: [], image };
  for (const name of ['first', 'second']) {
    const config = podConfig(name);
    const { podSandboxId } = await cri.runtime.runPodSandbox({ config }, patient);
    left.pods.push(podSandboxId);
    const { containerId } = await cri.runtime.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: 'main', attempt: 0 },
        image: { image },
        command: ['sh', '-c', 'echo up; sleep 1000'],
        logPath: 'main.log',
        linux: { securityContext: {} },
      },
    });
    await cri.runtime.startContainer({ containerId }, patient);
    left.containers.push(containerId);
  }
  await createContainer({ clients: core, namespace: 'k8s.io' }, { id: 'operators', chain, args: ['sleep', '1000'] });
  await core.tasks.create({ containerId: 'operators' }, patient);
  await core.tasks.start({ containerId: 'operators' }, patient);
  expect((await core.tasks.list({})).tasks).toHaveLength(5);
  writeFileSync(leftFile, JSON.stringify(left));
  // This file, not the daemons' data: those have to see to theirs.
  execFileSync('sync', [leftFile]);
  core[Symbol.dispose]();
  cri[Symbol.dispose]();
});
