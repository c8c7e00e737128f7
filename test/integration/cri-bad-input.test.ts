import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { useCri } from '../support/cri-suite.ts';
import { expectNoLeaks, type LeakSnapshot } from '../support/leaks.ts';

const suite = useCri();
let clean: LeakSnapshot;

beforeAll(async () => {
  clean = await suite.clean();
});

/** Whatever went wrong, nothing is left of it. */
afterEach(() => expectNoLeaks(suite.scope, clean));

const status = (code: string, ...words: string[]) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(
      new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*'), 's'),
    ),
  });

async function refused(config: PodSandboxConfig, error: unknown): Promise<void> {
  await expect(suite.runPod(config)).rejects.toEqual(error);
  expect((await suite.cri.runtime.listPodSandbox({})).items).toEqual([]);
}

describe('RunPodSandbox', () => {
  it('names what is missing in the configuration', async () => {
    await refused({}, status('invalid_argument', 'metadata'));
    await refused({ metadata: { name: 'x', uid: '', namespace: 'y' } }, status('invalid_argument', 'uid'));
  });

  it('refuses a name that is taken, and says by whom', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    await expect(suite.runPod(pod)).rejects.toEqual(status('already_exists', 'pod-', id, 'remove that first'));
    await suite.removePod(id);
    await suite.removePod(await suite.runPod(pod));
  });

  it('lets calls for one pod at the same time share one pod', async () => {
    const pod = suite.podConfig();
    const ids = new Set(await Promise.all([suite.runPod(pod), suite.runPod(pod), suite.runPod(pod)]));
    expect(ids.size).toBe(1);
    for (const id of ids) await suite.removePod(id);
  });

  it.each([
    [{ sysctls: { 'vm.overcommit_memory': '1' } }, 'vm.overcommit_memory'],
    [{ sysctls: { 'net.ipv4.ip_forward': '1\nkernel.x=1' } }, 'separator'],
    [{ cgroupParent: '/a/../../b' }, '/a/../../b'],
    [{ securityContext: { namespaceOptions: { usernsOptions: { mode: 'POD' as const } } } }, 'userns_options: uids'],
    [{ securityContext: { runAsGroup: { value: 5 } } }, 'run_as_group'],
    [{ securityContext: { runAsUser: { value: '4294967296' } } }, '4294967296'],
    [{ securityContext: { seccomp: { profileType: 'Localhost' as const, localhostRef: '/nope.json' } } }, '/nope.json'],
  ])('refuses %j', async (linux, word) => {
    await refused(suite.podConfig({ linux }), status('invalid_argument', word));
  });

  it('refuses an unknown runtime handler', async () => {
    const call = suite.cri.runtime.runPodSandbox({ config: suite.podConfig(), runtimeHandler: 'warp' });
    await expect(call).rejects.toEqual(status('invalid_argument', '"warp"', 'runc'));
  });

  it('refuses a protocol of a port that the CRI has no name for', async () => {
    const portMappings = [{ hostPort: 8099, containerPort: 80, protocol: 77 as never }];
    await refused(suite.podConfig({ portMappings }), status('invalid_argument', 'protocol 77'));
  });

  it('refuses host names and DNS entries that would break files', async () => {
    await refused(suite.podConfig({ hostname: 'a b' }), status('invalid_argument', 'hostname'));
    const tooLong = `pod.${'x'.repeat(61)}`;
    await refused(suite.podConfig({ hostname: tooLong }), status('invalid_argument', tooLong, '65 characters', '64'));
    const dnsConfig = { servers: ['1.1.1.1\nnameserver 6.6.6.6'] };
    await refused(suite.podConfig({ dnsConfig }), status('invalid_argument', 'white space'));
  });

  it('names the directory without a network configuration, and Status the reason', async () => {
    const { confDir } = suite.berth.network;
    renameSync(confDir, `${confDir}.away`);
    try {
      await refused(suite.podConfig(), status('failed_precondition', confDir, "doesn't exist"));
      const { status: runtime, info } = await suite.cri.runtime.status({ verbose: true });
      expect(runtime?.conditions[1]).toMatchObject({
        type: 'NetworkReady',
        status: false,
        reason: 'NetworkPluginNotReady',
        message: expect.stringContaining(confDir),
      });
      expect(info.lastCNILoadStatus).toContain(confDir);
      mkdirSync(confDir);
      await refused(suite.podConfig(), status('failed_precondition', 'no CNI configuration', confDir));
      // A pod on the host's network needs none.
      const linux = {
        cgroupParent: `/${suite.cgroup}`,
        securityContext: { namespaceOptions: { network: 'NODE' as const } },
      };
      await suite.removePod(await suite.runPod(suite.podConfig({ hostname: '', linux })));
    } finally {
      rmSync(confDir, { recursive: true, force: true });
      renameSync(`${confDir}.away`, confDir);
    }
  });

  it('names a missing plugin and where it was looked for', async () => {
    const list = { cniVersion: '1.0.0', name: 'x', plugins: [{ type: 'teleport' }] };
    const file = join(suite.berth.network.confDir, '00-first.conflist');
    writeFileSync(file, JSON.stringify(list));
    try {
      await refused(suite.podConfig(), status('failed_precondition', '"teleport" not found in /usr/lib/cni'));
    } finally {
      renameSync(file, `${file}.off`);
    }
  });

  it('takes everything back when the network can’t be attached', async () => {
    // The bridge plugin succeeds, the next one fails: the address must be given back.
    const ipam = {
      type: 'host-local',
      dataDir: join(suite.dir, 'cni', 'ipam'),
      ranges: [[{ subnet: `${suite.berth.network.prefix}0/24` }]],
    };
    const bridge = { type: 'bridge', bridge: suite.berth.network.bridge, isGateway: true, ipam };
    const list = {
      cniVersion: '1.0.0',
      name: suite.berth.network.bridge,
      plugins: [bridge, { type: 'bandwidth', ingressRate: -1, ingressBurst: 1 }],
    };
    const file = join(suite.berth.network.confDir, '00-first.conflist');
    writeFileSync(file, JSON.stringify(list));
    try {
      await expect(suite.runPod(suite.podConfig())).rejects.toEqual(status('internal', '"bandwidth" ADD'));
    } finally {
      renameSync(file, `${file}.off`);
    }
  });
});

describe('CreateContainer and StartContainer', () => {
  async function inPod(
    test: (id: string, pod: PodSandboxConfig & { logDirectory: string }) => Promise<void>,
  ): Promise<void> {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const before = await suite.cri.runtime.listContainers({});
    await test(id, pod);
    expect((await suite.cri.runtime.listContainers({})).containers.length).toBeGreaterThanOrEqual(
      before.containers.length,
    );
    await suite.removePod(id);
  }

  it('refuse an unknown or stopped pod', () =>
    inPod(async (id, pod) => {
      const config = suite.containerConfig('c', 'true');
      await expect(suite.create('f'.repeat(64), pod, config)).rejects.toEqual(status('not_found', 'pod sandbox'));
      await suite.cri.runtime.stopPodSandbox({ podSandboxId: id });
      await expect(suite.create(id, pod, config)).rejects.toEqual(status('failed_precondition', id, 'not running'));
    }));

  it('name an image that isn’t there, and one that can’t be', () =>
    inPod(async (id, pod) => {
      const config = suite.containerConfig('c', 'true', { image: { image: 'example.com/nothing:1' } });
      await expect(suite.create(id, pod, config)).rejects.toEqual(status('not_found', 'example.com/nothing:1'));
      expect((await suite.cri.runtime.listContainers({})).containers).toEqual([]);
    }));

  it.each([
    [{ workingDir: 'relative' }, 'relative'],
    [{ logPath: '../../escape.log' }, '../../escape.log'],
    [{ mounts: [{ hostPath: 'relative', containerPath: '/x' }] }, 'relative'],
    [{ mounts: [{ hostPath: '/tmp', containerPath: 'x' }] }, 'mount target'],
    [{ devices: [{ hostPath: '/dev/nope', containerPath: '/dev/nope', permissions: 'r' }] }, '/dev/nope'],
    [{ devices: [{ hostPath: '/dev/null', containerPath: '/dev/x', permissions: 'x' }] }, 'permissions'],
    [{ linux: { securityContext: { capabilities: { addCapabilities: ['FLY'] } } } }, 'FLY'],
    [{ linux: { securityContext: { privileged: true } } }, 'privileged'],
    [{ linux: { securityContext: { runAsUsername: 'ghost' } } }, 'ghost'],
    [{ linux: { securityContext: { runAsUser: { value: -5 } } } }, '-5'],
    [{ linux: { securityContext: { seccomp: { profileType: 'Localhost' as const, localhostRef: 'x' } } } }, 'absolute'],
    [{ annotations: { 'cdi.k8s.io/plugin': 'nothing' } }, 'cdi.k8s.io/plugin'],
  ])('refuse %j', (fields, word) =>
    inPod(async (id, pod) => {
      await expect(suite.create(id, pod, suite.containerConfig('c', 'true', fields))).rejects.toEqual(
        status('invalid_argument', word),
      );
      expect((await suite.cri.runtime.listContainers({})).containers).toEqual([]);
    }),
  );

  it('report a command that doesn’t exist, and so does the status', () =>
    inPod(async (id, pod) => {
      const containerId = await suite.create(
        id,
        pod,
        suite.containerConfig('c', '', { command: ['/no/such/command'] }),
      );
      const { runtime } = suite.cri;
      await expect(runtime.startContainer({ containerId })).rejects.toThrow('/no/such/command');
      expect(await suite.status(containerId)).toMatchObject({
        state: 'CONTAINER_EXITED',
        exitCode: 128,
        reason: 'StartError',
        message: expect.stringContaining('/no/such/command'),
      });
      await expect(runtime.startContainer({ containerId })).rejects.toEqual(status('failed_precondition', containerId));
      await runtime.stopContainer({ containerId, timeout: 1 });
      await runtime.removeContainer({ containerId });
    }));

  it('refuse a second start, a second container of a name, and commands in one that doesn’t run', () =>
    inPod(async (id, pod) => {
      const config = suite.containerConfig('c', 'exec sleep 100');
      const containerId = await suite.create(id, pod, config);
      const { runtime } = suite.cri;
      await expect(suite.create(id, pod, config)).rejects.toEqual(status('already_exists', 'c_pod-', containerId));
      await expect(suite.exec(containerId, 'true')).rejects.toEqual(status('failed_precondition', containerId));
      await expect(runtime.reopenContainerLog({ containerId })).rejects.toEqual(
        status('failed_precondition', containerId),
      );
      await runtime.startContainer({ containerId });
      await expect(runtime.startContainer({ containerId })).rejects.toEqual(status('failed_precondition', containerId));
      await expect(runtime.execSync({ containerId, cmd: [] })).rejects.toEqual(status('invalid_argument', 'empty'));
      await expect(runtime.execSync({ containerId, cmd: ['/no/such'], timeout: 5 })).rejects.toThrow('/no/such');
    }));

  it('never let a log leave the pod’s directory through a link', () =>
    inPod(async (id, pod) => {
      symlinkSync('/tmp', join(pod.logDirectory, 'dir'));
      const config = suite.containerConfig('c', 'echo out', { logPath: 'dir/escaped.log' });
      const containerId = await suite.create(id, pod, config);
      await expect(suite.cri.runtime.startContainer({ containerId })).rejects.toEqual(
        status('invalid_argument', 'log'),
      );
    }));
});

describe('ids', () => {
  it('that are unknown are NOT_FOUND to questions and nothing to Stop and Remove', async () => {
    const { runtime } = suite.cri;
    for (const unknown of ['nope', 'f'.repeat(64)]) {
      await expect(runtime.podSandboxStatus({ podSandboxId: unknown })).rejects.toEqual(status('not_found', unknown));
      await expect(runtime.containerStatus({ containerId: unknown })).rejects.toEqual(status('not_found', unknown));
      await expect(runtime.startContainer({ containerId: unknown })).rejects.toEqual(status('not_found', unknown));
      await expect(runtime.execSync({ containerId: unknown, cmd: ['x'] })).rejects.toEqual(
        status('not_found', unknown),
      );
      await runtime.stopPodSandbox({ podSandboxId: unknown });
      await runtime.removePodSandbox({ podSandboxId: unknown });
      await runtime.stopContainer({ containerId: unknown });
      await runtime.removeContainer({ containerId: unknown });
    }
  });
});

describe('a CNI plugin that fails to let go', () => {
  it('makes StopPodSandbox fail until it does', async () => {
    const pod = suite.podConfig();
    const id = await suite.runPod(pod);
    const { runtime } = suite.cri;
    const pool = join(suite.dir, 'cni', 'ipam');
    // Without its lock file's directory being usable, host-local fails.
    renameSync(pool, `${pool}.away`);
    writeFileSync(pool, '');
    await expect(runtime.stopPodSandbox({ podSandboxId: id })).rejects.toEqual(status('internal', 'DEL'));
    await expect(runtime.removePodSandbox({ podSandboxId: id })).rejects.toEqual(status('internal', 'DEL'));
    rmSync(pool);
    renameSync(`${pool}.away`, pool);
    await runtime.stopPodSandbox({ podSandboxId: id });
    await runtime.removePodSandbox({ podSandboxId: id });
  });
});
