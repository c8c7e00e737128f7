import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LinuxContainerSecurityContext } from '#proto/runtime/v1/LinuxContainerSecurityContext.ts';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { patient, useCri } from '../support/cri-suite.ts';

const suite = useCri(() => ({ selinux: { enable: true } }));

/** The label of a file, by its path on the host. */
function fileLabel(path: string): string {
  return execFileSync('stat', ['--format', '%C', path], { encoding: 'utf8' }).trim();
}

/** The label of a process. */
function processLabel(pid: number): string {
  return readFileSync(`/proc/${pid}/attr/current`, 'utf8').replace(/\0$/, '');
}

async function pidOf(containerId: string): Promise<number> {
  const { info } = await suite.cri.runtime.containerStatus({ containerId, verbose: true }, patient);
  return JSON.parse(info.info ?? '{}').pid;
}

type Pod = PodSandboxConfig & { logDirectory: string };

/** Runs a container that waits, and answers its id and process. */
async function wait(podId: string, pod: Pod, name: string, securityContext: LinuxContainerSecurityContext = {}) {
  const config = suite.containerConfig(name, 'touch /new; sleep 1000', { linux: { securityContext } });
  const id = await suite.start(podId, pod, config);
  await suite.exec(id, 'sh', '-c', 'until [ -e /new ]; do sleep 0.1; done');
  return { id, pid: await pidOf(id) };
}

const file = (level: string) => `system_u:object_r:container_file_t:${level}`;
const running = (level: string, type = 'container_t') => `system_u:system_r:${type}:${level}`;

/** The level of a label, with two categories. */
function levelOf(label: string): string {
  return /:(s0:c\d+,c\d+)$/.exec(label)?.[1] ?? `no level with two categories: ${label}`;
}

it('the kernel has a policy', () => {
  expect(existsSync('/sys/fs/selinux/policyvers'), 'booted with security=selinux').toBe(true);
});

describe('pods on a node with SELinux', () => {
  it('have a level of their own, which their containers, files and commands share', async () => {
    const levels: string[] = [];
    for (let n = 0; n < 2; n += 1) {
      const pod = suite.podConfig();
      const podId = await suite.runPod(pod);
      const { id, pid } = await wait(podId, pod, 'one');
      const level = levelOf(processLabel(pid));
      levels.push(level);
      expect(processLabel(pid)).toBe(running(level));
      expect(processLabel((await wait(podId, pod, 'two')).pid)).toBe(running(level));
      for (const path of ['new', 'etc/hosts', 'etc/resolv.conf', 'dev/shm', 'dev', 'bin/sh']) {
        expect([path, fileLabel(`/proc/${pid}/root/${path}`)]).toEqual([path, file(level)]);
      }
      expect((await suite.exec(id, 'cat', '/proc/self/attr/current')).replace(/\0$/, '')).toBe(running(level));
    }
    expect(new Set(levels).size).toBe(2);
  });

  it('are what they ask for, as their containers are', async () => {
    const pod = suite.podConfig();
    const selinuxOptions = { user: '', role: '', type: '', level: 's0:c7,c9' };
    pod.linux = { ...pod.linux, securityContext: { selinuxOptions } };
    const podId = await suite.runPod(pod);
    const { pid } = await wait(podId, pod, 'plain');
    expect(processLabel(pid)).toBe(running('s0:c7,c9'));
    const other = await wait(podId, pod, 'other', { selinuxOptions: { ...selinuxOptions, level: 's0:c1,c3' } });
    expect(processLabel(other.pid)).toBe(running('s0:c1,c3'));
    expect(fileLabel(`/proc/${other.pid}/root/new`)).toBe(file('s0:c1,c3'));
    const bad = { selinuxOptions: { ...selinuxOptions, level: 's0:c1"' } };
    await expect(wait(podId, pod, 'bad', bad)).rejects.toThrow(/selinux_options.level/);
  });

  it('run what is privileged as the runtime itself', async () => {
    const pod = suite.podConfig();
    pod.linux = { ...pod.linux, securityContext: { privileged: true } };
    const podId = await suite.runPod(pod);
    const { pid } = await wait(podId, pod, 'main', { privileged: true });
    expect(processLabel(pid)).toBe(processLabel(suite.berth.berthd.daemon.pid));
  });

  it('relabel the volumes that they are told to, and nothing outside of them', async () => {
    const volume = join(suite.dir, 'volume');
    const outside = join(suite.dir, 'outside');
    mkdirSync(join(volume, 'deep'), { recursive: true });
    writeFileSync(join(volume, 'deep/file'), '');
    writeFileSync(outside, '');
    symlinkSync(outside, join(volume, 'link'));
    const before = fileLabel(outside);
    const pod = suite.podConfig();
    const podId = await suite.runPod(pod);
    const mount = { containerPath: '/volume', hostPath: volume, readonly: false };
    const config = suite.containerConfig('main', 'sleep 1000', { mounts: [{ ...mount, selinuxRelabel: true }] });
    const id = await suite.start(podId, pod, config);
    const level = levelOf(processLabel(await pidOf(id)));
    for (const path of ['', 'deep', 'deep/file']) expect(fileLabel(join(volume, path))).toBe(file(level));
    expect(fileLabel(outside)).toBe(before);
    const system = { containerPath: '/volume', hostPath: '/usr', readonly: true, selinuxRelabel: true };
    const refused = suite.create(podId, pod, suite.containerConfig('bad', 'true', { mounts: [system] }));
    await expect(refused).rejects.toThrow(/\/usr must not get/);
  });

  it('keep their labels when berth-cri is started again', async () => {
    const pod = suite.podConfig();
    const podId = await suite.runPod(pod);
    const { pid } = await wait(podId, pod, 'before');
    const made = await suite.create(podId, pod, suite.containerConfig('made', 'touch /new; sleep 1000'));
    await suite.berth.cri.restart();
    await suite.cri.runtime.startContainer({ containerId: made }, patient);
    await suite.exec(made, 'sh', '-c', 'until [ -e /new ]; do sleep 0.1; done');
    const later = await pidOf(made);
    expect(processLabel(later)).toBe(processLabel(pid));
    expect(fileLabel(`/proc/${later}/root/new`)).toBe(file(levelOf(processLabel(pid))));
  });
});
