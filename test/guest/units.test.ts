import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { busyboxImage } from '../support/busybox-image.ts';
import { importImage } from '../support/client-route.ts';
import { alive } from '../support/container.ts';
import { waitFor } from '../support/wait-for.ts';
import { daemons, installUnits, nodeClients, patient, podConfig, property, startDaemons, systemctl } from './units.ts';

const image = 'docker.io/library/busybox:guest';
const { core, cri } = nodeClients();

beforeAll(async () => {
  installUnits();
  await startDaemons();
  await importImage(core, busyboxImage(), image);
  await waitFor('the image to be known', async () => {
    return (await cri.image.imageStatus({ image: { image } }, patient)).image !== null;
  });
});

afterEach(({ task }) => {
  if (task.result?.state !== 'fail') return;
  for (const unit of daemons) console.error(execFileSync('journalctl', ['-u', unit, '-n', '25'], { encoding: 'utf8' }));
});
afterAll(() => {
  core[Symbol.dispose]();
  cri[Symbol.dispose]();
});

describe('the units of both daemons', () => {
  it('are up once both have said that they are ready', () => {
    for (const unit of daemons) {
      expect(property(unit, 'ActiveState')).toBe('active');
      expect(property(unit, 'OOMScoreAdjust')).toBe('-999');
      const pid = property(unit, 'MainPID');
      expect(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim()).toBe('-999');
      expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max open files +1048576/);
    }
  });

  it('tell the kubelet that systemd drives the cgroups', async () => {
    expect(await cri.runtime.runtimeConfig({})).toMatchObject({ linux: { cgroupDriver: 'SYSTEMD' } });
    const { status } = await cri.runtime.status({});
    expect(status?.conditions.map(({ type, status: is }) => [type, is])).toEqual([
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ]);
  });

  it('run a pod in the slice of the kubelet, which a restart, a reload and a stop of both leave alone', async () => {
    const { runtime } = cri;
    const config = podConfig('unit');
    const { podSandboxId } = await runtime.runPodSandbox({ config }, patient);
    const { containerId } = await runtime.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: 'main', attempt: 0 },
        image: { image },
        command: ['sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.5; done'],
        logPath: 'main.log',
        linux: { resources: { memoryLimitInBytes: 64 << 20 }, securityContext: {} },
      },
    });
    await runtime.startContainer({ containerId }, patient);
    const { info } = await runtime.containerStatus({ containerId, verbose: true }, patient);
    const pid = Number(JSON.parse(info.info ?? '{}').pid);
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim()).toBe(
      `0::/kubepods.slice/kubepods-unit.slice/cri-containerd-${containerId}.scope`,
    );
    expect(property(`cri-containerd-${containerId}.scope`, 'MemoryMax')).toBe(String(64 << 20));

    systemctl('reload', ...daemons);
    for (const verbs of [['restart'], ['stop', 'start'], ['kill --kill-who=main --signal=KILL']]) {
      for (const verb of verbs) systemctl(...verb.split(' '), ...daemons);
      // What was killed is started again by systemd a second later.
      await waitFor(
        'the daemon to answer',
        async () => (await core.version.version({}, patient).catch(() => undefined)) !== undefined,
        60_000,
      );
      await waitFor('both to be up', () => daemons.every((unit) => property(unit, 'ActiveState') === 'active'), 60_000);
      expect(alive(pid)).toBe(true);
      const { status } = await runtime.containerStatus({ containerId }, patient);
      expect(status?.state).toBe('CONTAINER_RUNNING');
      const { stdout } = await runtime.execSync({ containerId, cmd: ['echo', 'in'], timeout: 60 }, patient);
      expect(stdout.toString()).toBe('in\n');
    }
    await runtime.stopContainer({ containerId, timeout: 1 }, patient);
    const lines = readFileSync('/var/log/pods/unit/main.log', 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => Number(line.split(' ').at(-1)))).toEqual(lines.map((_, index) => index + 1));
    await runtime.stopPodSandbox({ podSandboxId }, patient);
    await runtime.removePodSandbox({ podSandboxId }, patient);
    expect(systemctl('list-units', '--plain', '--no-legend', 'cri-containerd-*')).toBe('');
  });
});
