import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { ContainerConfig } from '#proto/runtime/v1/ContainerConfig.ts';
import type { ContainerStatus__Output } from '#proto/runtime/v1/ContainerStatus.ts';
import type { PodSandboxConfig } from '#proto/runtime/v1/PodSandboxConfig.ts';
import { type Berth, startBerth } from './berth.ts';
import { removeBridge } from './bridge.ts';
import { busyboxImage } from './busybox-image.ts';
import { removeCgroups } from './cgroups.ts';
import { importImage } from './client-route.ts';
import type { CriClients } from './cri-clients.ts';
import { type LeakScope, type LeakSnapshot, leakSnapshot } from './leaks.ts';
import { removeScratch, scratchDir } from './scratch.ts';
import { waitFor } from './wait-for.ts';

/** The busybox image of every suite. */
export const busybox = 'docker.io/library/busybox:test';

type Settings = (dir: string) => Readonly<Record<string, unknown>>;

/** Calls wait for a daemon's return. */
export const patient = { waitForReady: true, timeoutMs: 60_000 } as const;

/** Both daemons for the tests of one file. */
export class CriSuite {
  dir = '';
  /** Cgroup of all pods. */
  cgroup = '';
  berth!: Berth;
  cri!: CriClients;
  #pods = 0;

  /** How many descriptors berth-cri has open. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.berth.cri.pid}/fd`).length;
  }

  /** What may be left behind. */
  get scope(): LeakScope {
    return { dir: this.dir, names: [this.cgroup], bridges: [this.berth.network.bridge] };
  }

  /**
   * What is there when no pod is. The first pod makes the bridge and the files of its address pool.
   */
  async clean(): Promise<LeakSnapshot> {
    const id = await this.runPod(this.podConfig());
    await this.removePod(id);
    return leakSnapshot(this.scope);
  }

  podConfig(fields: Partial<PodSandboxConfig> = {}): PodSandboxConfig & { logDirectory: string } {
    this.#pods += 1;
    const name = `pod-${this.#pods}`;
    const logDirectory = join(this.dir, 'pod-logs', name);
    mkdirSync(logDirectory, { recursive: true });
    return {
      metadata: { name, uid: `uid-${this.#pods}`, namespace: 'default', attempt: 0 },
      hostname: name,
      logDirectory,
      linux: { cgroupParent: `/${this.cgroup}`, securityContext: {} },
      ...fields,
    } as PodSandboxConfig & { logDirectory: string };
  }

  async runPod(config: PodSandboxConfig): Promise<string> {
    return (await this.cri.runtime.runPodSandbox({ config })).podSandboxId;
  }

  async removePod(podSandboxId: string): Promise<void> {
    await this.cri.runtime.stopPodSandbox({ podSandboxId }, patient);
    await this.cri.runtime.removePodSandbox({ podSandboxId }, patient);
  }

  /** A container that runs a shell script. */
  containerConfig(name: string, script: string, fields: Partial<ContainerConfig> = {}): ContainerConfig {
    return {
      metadata: { name, attempt: 0 },
      image: { image: busybox },
      command: ['sh', '-c', script],
      logPath: `${name}.log`,
      linux: { securityContext: {} },
      ...fields,
    };
  }

  async create(podSandboxId: string, sandboxConfig: PodSandboxConfig, config: ContainerConfig): Promise<string> {
    return (await this.cri.runtime.createContainer({ podSandboxId, config, sandboxConfig })).containerId;
  }

  async start(podSandboxId: string, sandboxConfig: PodSandboxConfig, config: ContainerConfig): Promise<string> {
    const containerId = await this.create(podSandboxId, sandboxConfig, config);
    await this.cri.runtime.startContainer({ containerId });
    return containerId;
  }

  async status(containerId: string): Promise<ContainerStatus__Output> {
    const { status } = await this.cri.runtime.containerStatus({ containerId }, patient);
    if (status === null) throw new Error(`no status of ${containerId}`);
    return status;
  }

  /** Waits until a container has exited. */
  async exited(containerId: string): Promise<ContainerStatus__Output> {
    return await waitFor(
      `container ${containerId} to exit`,
      async () => {
        const status = await this.status(containerId);
        return status.state === 'CONTAINER_EXITED' && status;
      },
      30_000,
    );
  }

  async exec(containerId: string, ...cmd: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.cri.runtime.execSync({ containerId, cmd, timeout: 20 }, patient);
    if (exitCode !== 0) throw new Error(`${cmd.join(' ')}: exit code ${exitCode}: ${stderr}`);
    return stdout.toString();
  }

  /** Contents of the lines in a log; `P` entries are joined with what follows. */
  log(pod: { logDirectory: string }, name: string): string[] {
    const text = readFileSync(join(pod.logDirectory, `${name}.log`), 'utf8');
    const entry = /^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) ([PF]) (.*)$/;
    let pending = '';
    return text
      .split('\n')
      .slice(0, -1)
      .flatMap((line) => {
        const match = entry.exec(line);
        if (match === null) throw new Error(`not a log entry: ${line}`);
        pending += match[2];
        if (match[1] === 'P') return [];
        const whole = pending;
        pending = '';
        return [whole];
      });
  }

  /** Waits until a log holds a line. */
  async logged(pod: { logDirectory: string }, name: string, line: string): Promise<void> {
    await waitFor(`"${line}" in the log of ${name}`, () => {
      return readdirSync(pod.logDirectory).includes(`${name}.log`) && this.log(pod, name).includes(line);
    });
  }
}

/**
 * Gives the tests of a file berthd and berth-cri of their own. The values are there once the tests run; a test that
 * fails shows the end of both logs.
 *
 * @param settings further keys of cri.toml
 * @param coreSettings keys of berthd.toml
 */
export function useCri(settings: Settings = () => ({}), coreSettings: Settings = () => ({})): CriSuite {
  const suite = new CriSuite();
  beforeAll(async () => {
    suite.dir = scratchDir();
    suite.cgroup = suite.dir.slice(suite.dir.lastIndexOf('/') + 1).toLowerCase();
    const { dir } = suite;
    suite.berth = await startBerth({
      dir,
      network: freeNetwork(),
      settings: settings(dir),
      coreSettings: coreSettings(dir),
    });
    suite.cri = suite.berth.clients();
    using core = suite.berth.berthd.clients('k8s.io');
    await importImage(core, busyboxImage(), busybox);
    await waitFor('the image to be known', async () => {
      return (await suite.cri.image.imageStatus({ image: { image: busybox } })).image !== null;
    });
  });
  afterEach(({ task }) => {
    if (task.result?.state !== 'fail') return;
    console.error(suite.berth.cri.logTail(20));
    console.error(suite.berth.berthd.daemon.logTail(20));
  });
  afterAll(async () => {
    for (const { id } of (await suite.cri?.runtime.listPodSandbox({}))?.items ?? []) await suite.removePod(id);
    suite.cri?.[Symbol.dispose]();
    await suite.berth?.stop();
    if (suite.berth !== undefined) removeBridge(suite.berth.network);
    removeScratch(suite.dir);
    removeCgroups(suite.cgroup);
  });
  return suite;
}

/** The number of a bridge that isn't there yet: several runs of these tests may share a machine. */
export function freeNetwork(): number {
  for (;;) {
    const number = randomInt(100, 256);
    if (!existsSync(`/sys/class/net/berth-t${number}`)) return number;
  }
}
