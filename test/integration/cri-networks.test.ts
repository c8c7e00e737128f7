import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';

const networksOf = (dir: string) => join(dir, 'cni', 'several');
const suite = useCri((dir) => {
  mkdirSync(networksOf(dir), { recursive: true });
  return { runtimes: { several: { cni_conf_dir: networksOf(dir), cni_max_conf_num: 2 } } };
});
let clean: LeakSnapshot;

/** A network of one plugin, with an address of each range for each pod. */
function configure(file: string, name: string, subnets: readonly string[]): void {
  const ranges = subnets.map((subnet) => [{ subnet }]);
  const ipam = { type: 'host-local', dataDir: join(suite.dir, 'cni', 'ipam'), ranges };
  const list = { cniVersion: '1.0.0', name, plugins: [{ type: 'ptp', ipam }] };
  writeFileSync(join(networksOf(suite.dir), file), JSON.stringify(list));
}

beforeAll(async () => {
  clean = await suite.clean();
});
beforeEach(() => {
  const { prefix } = suite.berth.network;
  const number = prefix.split('.')[2];
  configure('10-main.conflist', 'main', [`fd42:be:${number}::/64`, `10.252.${number}.0/24`, `10.251.${number}.0/24`]);
  configure('20-storage.conflist', 'storage', [`10.250.${number}.0/24`]);
  configure('30-unused.conflist', 'unused', [`10.249.${number}.0/24`]);
});
afterEach(() => expectNoLeaks(suite.scope, clean));

const runtimeHandler = 'several';

it('a pod gets the networks of its runtime handler, with addresses of both families', async () => {
  const pod = suite.podConfig();
  const { podSandboxId } = await suite.cri.runtime.runPodSandbox({ config: pod, runtimeHandler });
  const { status, info } = await suite.cri.runtime.podSandboxStatus({ podSandboxId, verbose: true });
  const { ip = '', additionalIps = [] } = status?.network ?? {};
  expect([ip, ...additionalIps.map((each) => each.ip)]).toEqual([
    expect.stringMatching(/^10\.252\./),
    expect.stringMatching(/^10\.251\./),
    expect.stringMatching(/^fd42:be:/),
  ]);
  const { cniResult } = JSON.parse(info.info ?? '') as { cniResult: { Interfaces: Record<string, object> } };
  const storage = { IPConfigs: [{ IP: expect.stringMatching(/^10\.250\./) }] };
  expect(cniResult.Interfaces).toMatchObject({ eth0: { IPConfigs: { length: 3 } }, eth1: storage });
  expect(cniResult.Interfaces).not.toHaveProperty('eth2');

  const containerId = await suite.start(podSandboxId, pod, suite.containerConfig('c', 'sleep 1000'));
  const addresses = await suite.exec(containerId, 'ip', '-o', 'addr');
  for (const words of [`eth0    inet ${ip}/`, 'eth0    inet6 fd42:be:', 'eth1    inet 10.250.']) {
    expect(addresses).toContain(words);
  }
  await suite.removePod(podSandboxId);
});

it('a pod of another handler gets the node’s network', async () => {
  const id = await suite.runPod(suite.podConfig());
  const { status } = await suite.cri.runtime.podSandboxStatus({ podSandboxId: id });
  expect(status?.network?.ip).toContain(suite.berth.network.prefix);
  await suite.removePod(id);
});

it('a pod leaves all its networks, although a restart and new files came in between', async () => {
  const { podSandboxId } = await suite.cri.runtime.runPodSandbox({ config: suite.podConfig(), runtimeHandler });
  await suite.berth.cri.kill9();
  rmSync(join(networksOf(suite.dir), '10-main.conflist'));
  await suite.berth.cri.start();
  await suite.removePod(podSandboxId);
});

it('when one network can’t be had, all are given back; Status tells of each handler’s networks', async () => {
  writeFileSync(join(networksOf(suite.dir), '20-storage.conflist'), JSON.stringify({ cniVersion: '1.0.0', name: 's' }));
  const run = suite.cri.runtime.runPodSandbox({ config: suite.podConfig(), runtimeHandler });
  await expect(run).rejects.toMatchObject({ message: expect.stringContaining('20-storage.conflist') });
  const { status, info } = await suite.cri.runtime.status({ verbose: true });
  expect(status?.conditions[1]).toMatchObject({ type: 'NetworkReady', status: true });
  expect(info).toMatchObject({
    lastCNILoadStatus: 'OK',
    'lastCNILoadStatus.several': expect.stringContaining('20-storage.conflist'),
  });
  // The first network succeeds, the second has no addresses to give.
  configure('20-storage.conflist', 'storage', ['10.250.0.0/32']);
  const again = suite.cri.runtime.runPodSandbox({ config: suite.podConfig(), runtimeHandler });
  await expect(again).rejects.toMatchObject({ message: expect.stringContaining('"ptp" ADD') });
});
