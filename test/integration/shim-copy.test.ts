import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { useBerthd } from '../support/berthd-suite.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { createContainer, removeContainer } from '../support/container.ts';

const suite = useBerthd();
const installed = new URL('../../dist/containerd-shim-berth-v1', import.meta.url).pathname;

it('a copy of the shim, named by its absolute path, runs a container and is noted in its bundle', async () => {
  const { clients, dir, berthd, namespace } = suite;
  const chain = await importImage(clients, busyboxImage(), 'docker.io/library/busybox:latest');
  const runtimePath = join(dir, 'containerd-shim-berth-v1');
  copyFileSync(installed, runtimePath);
  await createContainer(suite, { id: 'copied', chain, args: ['sh', '-c', 'exit 7'] });
  const { tasks } = clients;
  const { pid } = await tasks.create({ containerId: 'copied', runtimePath });
  expect(pid).toBeGreaterThan(0);
  const bundle = join(berthd.state, 'io.containerd.runtime.v2.task', namespace, 'copied');
  expect(readFileSync(join(bundle, 'shim-binary-path'), 'utf8')).toBe(runtimePath);
  await tasks.start({ containerId: 'copied' });
  expect(await tasks.wait({ containerId: 'copied' })).toMatchObject({ exitStatus: 7 });
  await tasks.delete({ containerId: 'copied' });
  await removeContainer(suite, 'copied');
});
