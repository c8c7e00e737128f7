import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { busybox, useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';
import { suitCrun } from '../support/suit-crun.ts';

const suite = useCri(() => ({ runtimes: { crun: { binary: 'crun' } } }));
const hostRoot = 200_000;
const ids = [{ hostId: hostRoot, containerId: 0, length: 65_536 }];
const usernsOptions = { mode: 'POD', uids: ids, gids: ids } as const;
let clean: LeakSnapshot;

let restoreCgroups = (): void => undefined;

beforeAll(async () => {
  restoreCgroups = suitCrun(suite.dir);
  clean = await suite.clean();
  // The container's root goes through it on its way to its root file system.
  chmodSync(suite.dir, 0o711);
});
afterAll(() => restoreCgroups());

function mappedPod(fields: object = {}): PodSandboxConfig & { logDirectory: string } {
  const namespaceOptions = { network: 'POD', pid: 'CONTAINER', ipc: 'POD', usernsOptions, ...fields };
  return suite.podConfig({
    linux: { cgroupParent: `/${suite.cgroup}`, securityContext: { namespaceOptions } },
  } as Partial<PodSandboxConfig>);
}

async function runMapped(pod: PodSandboxConfig, runtimeHandler = 'crun'): Promise<string> {
  return (await suite.cri.runtime.runPodSandbox({ config: pod, runtimeHandler })).podSandboxId;
}

describe('a pod with a user namespace of its own', () => {
  it('is announced for the handlers whose OCI runtime has id-mapped mounts, and refused by the others', async () => {
    const { runtimeHandlers } = await suite.cri.runtime.status({ verbose: false });
    const features = Object.fromEntries(runtimeHandlers.map(({ name, features }) => [name, features]));
    expect(features.crun).toMatchObject({ userNamespaces: true, recursiveReadOnlyMounts: true });
    expect(features.runc).toEqual(features['']);
    if (features.runc?.userNamespaces) return;
    await expect(runMapped(mappedPod(), 'runc')).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('"runc" doesn\'t support user namespaces'),
    });
  });

  it('runs as root of its own, with its files, network and volumes mapped, and leaves nothing', async () => {
    const volume = join(suite.dir, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'given'), 'from the node\n');
    const pod = mappedPod();
    const id = await runMapped(pod);
    const script = [
      'cat /proc/self/uid_map',
      'stat -c "%u" /bin/busybox /etc/hosts /volume/given /image/bin/busybox',
      'cat /volume/given; echo made > /volume/made && echo x >> /etc/hosts && echo y > /mine && echo written',
      'ping -c 1 -W 5 127.0.0.1 > /dev/null && echo loopback',
      'trap "exit 0" TERM; echo ready; while :; do sleep 0.1; done',
    ].join('\n');
    const container = await suite.start(
      id,
      pod,
      suite.containerConfig('mapped', script, {
        mounts: [
          { hostPath: volume, containerPath: '/volume', uidMappings: ids, gidMappings: ids },
          { image: { image: busybox }, containerPath: '/image', readonly: true, uidMappings: ids, gidMappings: ids },
        ],
        linux: {
          securityContext: { namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD', usernsOptions } },
        },
      }),
    );
    await suite.logged(pod, 'mapped', 'ready');
    const lines = suite.log(pod, 'mapped');
    expect(lines[0]?.trim().split(/\s+/)).toEqual(['0', String(hostRoot), '65536']);
    expect(lines.slice(1)).toEqual(['0', '0', '0', '0', 'from the node', 'written', 'loopback', 'ready']);
    expect((await suite.exec(container, 'stat', '-c', '%u', '/volume/made')).trim()).toBe('0');
    const { status } = await suite.cri.runtime.podSandboxStatus({ podSandboxId: id });
    expect(status?.linux?.namespaces?.options?.usernsOptions).toMatchObject({ mode: 'POD' });
    expect(status?.network?.ip).not.toBe('');
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('can share its processes among its containers', async () => {
    const pod = mappedPod({ pid: 'POD' });
    const id = await runMapped(pod);
    const config = suite.containerConfig(
      'shared',
      'cat /proc/self/uid_map; [ "$$" != 1 ] && echo y >> /etc/hosts && echo shared',
      {
        linux: { securityContext: { namespaceOptions: { network: 'POD', pid: 'POD', ipc: 'POD', usernsOptions } } },
      },
    );
    await suite.exited(await suite.start(id, pod, config));
    expect(suite.log(pod, 'shared').at(-1)).toBe('shared');
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });

  it('is refused with namespaces of the host, with mappings that can’t be had, and for a container alone', async () => {
    await expect(runMapped(mappedPod({ ipc: 'NODE' }))).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining("can't share the host's ipc namespace"),
    });
    await expect(runMapped(mappedPod({ usernsOptions: { mode: 'POD', uids: ids, gids: [] } }))).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('gids: one mapping is needed'),
    });
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const alone = suite.containerConfig('alone', 'true', {
      linux: { securityContext: { namespaceOptions: { network: 'POD', pid: 'CONTAINER', ipc: 'POD', usernsOptions } } },
    });
    await expect(suite.create(id, pod, alone)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('not those of its pod'),
    });
    await suite.removePod(id);
    await expectNoLeaks(suite.scope, clean);
  });
});
