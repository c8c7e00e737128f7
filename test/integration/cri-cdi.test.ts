import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { TestNriPlugin } from '../support/nri-plugin.ts';
import { waitFor } from '../support/wait-for.ts';

const suite = useCri((dir) => ({
  cdi: { spec_dirs: [`${dir}/cdi`] },
  nri: { enable: true, socket_path: `${dir}/nri.sock`, plugin_path: `${dir}/nri`, request_timeout: '4s' },
}));
let clean: LeakSnapshot;

beforeAll(async () => {
  const { dir } = suite;
  mkdirSync(join(dir, 'cdi'));
  writeFileSync(join(dir, 'driver'), 'a driver\n');
  // The hook adds a line per container to a file of the host.
  const hook = {
    hookName: 'createRuntime',
    path: '/bin/sh',
    args: ['sh', '-c', `echo called >> ${join(dir, 'hooked')}`],
  };
  const mount = { hostPath: join(dir, 'driver'), containerPath: '/lib/driver', options: ['ro', 'rbind'] };
  const devices = [
    {
      name: 'null',
      containerEdits: { deviceNodes: [{ path: '/dev/gpu0', hostPath: '/dev/null' }], env: ['GPU=null'] },
    },
    { name: 'ghost', containerEdits: { deviceNodes: [{ path: '/dev/no/such/gpu' }] } },
    { name: 'group', containerEdits: { additionalGids: [4711] } },
    { name: 'wire', containerEdits: { netDevices: [{ hostInterfaceName: 'berth-no0', name: 'net1' }] } },
  ];
  const spec = {
    cdiVersion: '1.1.0',
    kind: 'berth.test/gpu',
    devices,
    containerEdits: { mounts: [mount], hooks: [hook] },
  };
  writeFileSync(join(dir, 'cdi', 'gpu.json'), JSON.stringify(spec));
  clean = await suite.clean();
});

const look = 'echo $GPU; test -c /dev/gpu0 && echo x > /dev/gpu0 && echo written; cat /lib/driver; id -G; sleep 1000';
const named = (...names: string[]) => ({ CDIDevices: names.map((name) => ({ name })) });
const annotated = (value: string) => ({ annotations: { 'cdi.k8s.io/test': value } });

it.each([
  ['by field', named('berth.test/gpu=null', 'berth.test/gpu=group')],
  ['by annotation', annotated('berth.test/gpu=null,berth.test/gpu=group')],
])('a container has the CDI devices that it asks for %s', async (_, fields) => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  await suite.start(id, pod, suite.containerConfig('c', look, fields));
  await waitFor('the container to look around', () => suite.log(pod, 'c').length === 4);
  expect(suite.log(pod, 'c')).toEqual(['null', 'written', 'a driver', expect.stringMatching(/\b4711\b/)]);
  await suite.removePod(id);
  await expectNoLeaks(suite.scope, clean);
});

it('a CDI device that can’t be had fails the creation, by its name, and leaves nothing', async () => {
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  for (const [name, why] of [
    ['berth.test/gpu=more', 'berth.test/gpu=more is in none of'],
    ['berth.test/gpu=ghost', '/dev/no/such/gpu'],
    ['berth.test/gpu=wire', 'network device "berth-no0"'],
  ] as const) {
    await expect(suite.create(id, pod, suite.containerConfig('c', look, named(name)))).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining(why),
    });
  }
  await suite.removePod(id);
  await expectNoLeaks(suite.scope, clean);
});

it('NRI plugins add CDI devices, and learn of those that were asked for', async () => {
  let told: unknown;
  using _plugin = await TestNriPlugin.start(
    `${suite.dir}/nri.sock`,
    { index: '10', name: 'gpu' },
    {
      CreateContainer: ({ container }) => {
        told = (container as { cdiDevices: unknown }).cdiDevices;
        return { adjust: { cdiDevices: [{ name: 'berth.test/gpu=null' }] } };
      },
    },
  );
  const pod = suite.podConfig();
  const id = await suite.runPod(pod);
  const container = await suite.start(id, pod, suite.containerConfig('c', look, named('berth.test/gpu=group')));
  expect(told).toEqual([{ name: 'berth.test/gpu=group' }]);
  expect(await suite.exec(container, 'sh', '-c', 'echo $GPU; id -G')).toMatch(/^null\n.*\b4711\b/);
  const { info } = await suite.cri.runtime.containerStatus({ containerId: container, verbose: true });
  const { runtimeSpec } = JSON.parse(info.info ?? '') as { runtimeSpec: { hooks: { createRuntime: unknown[] } } };
  // Both devices are of one specification: what they share is there once.
  expect(runtimeSpec.hooks.createRuntime).toHaveLength(1);
  await suite.removePod(id);
  await expectNoLeaks(suite.scope, clean);
});
