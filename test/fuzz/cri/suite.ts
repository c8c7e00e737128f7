import { mkdirSync } from 'node:fs';
import { inspect } from 'node:util';
import { BerthError } from '#common/errors.ts';
import { services } from '#proto/services.ts';
import { type SoakBed, soakBed } from '../../soak/cri-bed.ts';
import { busybox } from '../../support/cri-suite.ts';
import { expectNoLeaks, leakSnapshot } from '../../support/leaks.ts';
import { Random } from '../../support/random.ts';
import type { FuzzOptions, FuzzReport, FuzzSuite } from '../suite.ts';
import { spoiled } from './spoil.ts';
import { type Grounds, messageOf } from './values.ts';

/** A run that goes wrong all the time needn't go on. */
const maxFailures = 8;
const otherCalls = 6;
const callMs = 60_000;
/** What a call must never be answered with: a slip of the daemon's own, in place of what is wrong with the request. */
const slips =
  /undefined|is not a function|not iterable|Cannot read|Cannot convert|TypeError|RangeError|ERR_[A-Z_]+|\[object |NaN/;
/** Ids, without which the call would be about nothing, and what tells the suite's things from others'. */
const kept = new Set(['metadata', 'podSandboxId', 'containerId']);

/** Calls that say nothing about one pod, or that the others would be hindered by. */
const left = new Set([
  'RunPodSandbox',
  'CreateContainer',
  'StartContainer',
  'GetContainerEvents',
  'UpdateRuntimeConfig',
]);

export const criFuzz: FuzzSuite = {
  about: 'CRI requests, right and wrong: each is answered as such, and nothing is left behind',
  run: runCriFuzz,
};

export async function runCriFuzz({ seed, budgetMs, maxSequences = Infinity }: FuzzOptions): Promise<FuzzReport> {
  await using bed = await soakBed();
  await bed.onePod();
  const before = leakSnapshot(bed.scope);
  const trial = new CriTrial(bed, new Random(seed));
  const end = performance.now() + budgetMs;
  let sequences = 0;
  while (performance.now() < end && sequences < maxSequences && trial.failures.length < maxFailures) {
    sequences += 1;
    await trial.run(sequences);
  }
  await bed.removeAll();
  await expectNoLeaks(bed.scope, before).catch((error: unknown) => trial.failures.push(String(error)));
  return { sequences, steps: trial.steps, failures: trial.failures };
}

type Answer = Readonly<Record<string, unknown>>;

class CriTrial {
  readonly failures: string[] = [];
  steps = 0;
  readonly #bed: SoakBed;
  readonly #random: Random;
  readonly #grounds: Grounds;
  readonly #pids: readonly number[];

  constructor(bed: SoakBed, random: Random) {
    this.#bed = bed;
    this.#random = random;
    const [cgroup = ''] = bed.scope.names ?? [];
    this.#grounds = { dir: `${bed.scope.dir}/fuzz`, cgroup, image: busybox };
    this.#pids = this.#daemons();
    mkdirSync(this.#grounds.dir);
  }

  /** One pod with one container, and questions about them. */
  async run(sequence: number): Promise<void> {
    const { cgroup, dir } = this.#grounds;
    const pod = {
      metadata: { name: `pod-${sequence}`, uid: `uid-${sequence}`, namespace: 'fuzz', attempt: 0 },
      hostname: 'fuzz',
      logDirectory: dir,
      linux: { cgroupParent: `/${cgroup}`, securityContext: { namespaceOptions: { network: 2 } } },
    };
    const sandboxConfig = this.#spoil('runtime.v1.PodSandboxConfig', pod);
    const made = await this.#call('RunPodSandbox', { config: sandboxConfig, runtimeHandler: '' });
    const podSandboxId = String(made?.podSandboxId ?? '');
    if (podSandboxId !== '') await this.#inPod(podSandboxId, sandboxConfig);
    for (let n = 0; n < otherCalls; n++) await this.#other(podSandboxId, '');
    await this.#bed.removeAll();
  }

  async #inPod(podSandboxId: string, sandboxConfig: object): Promise<void> {
    const container = {
      metadata: { name: 'c', attempt: 0 },
      image: { image: busybox },
      command: ['sleep', '60'],
      logPath: 'c.log',
      linux: { securityContext: {} },
    };
    const config = this.#spoil('runtime.v1.ContainerConfig', container);
    const made = await this.#call('CreateContainer', { podSandboxId, config, sandboxConfig });
    const containerId = String(made?.containerId ?? '');
    if (containerId === '') return;
    await this.#call('StartContainer', { containerId });
    for (let n = 0; n < otherCalls; n++) await this.#other(podSandboxId, containerId);
  }

  async #other(podSandboxId: string, containerId: string): Promise<void> {
    const methods = (services['runtime.v1.RuntimeService'] ?? []).filter(([name, , , , streams]) => {
      return !streams && !left.has(name);
    });
    const [name, request] = this.#random.pick(methods);
    const ids = { podSandboxId, containerId };
    const random = messageOf(request, this.#random, this.#grounds, 0.5);
    const own = Object.entries(ids).filter(([id, value]) => id in random && value !== '' && this.#random.chance(0.9));
    await this.#call(name, { ...random, ...Object.fromEntries(own), ...(name === 'ExecSync' && { timeout: '5' }) });
  }

  #spoil(type: string, message: object): Record<string, unknown> {
    const times = this.#random.pick([0, 1, 1, 2, 3, 6]);
    return spoiled(type, message, times, kept, this.#random, this.#grounds);
  }

  /** @returns the answer, or undefined for a refusal */
  async #call(name: string, request: object): Promise<Answer | undefined> {
    this.steps += 1;
    const method = name.charAt(0).toLowerCase() + name.slice(1);
    const { runtime } = this.#bed.cri;
    const call = Reflect.get(runtime, method) as (request: object, options: object) => Promise<Answer>;
    try {
      return await call(request, { timeoutMs: callMs });
    } catch (error) {
      const { code, message } = BerthError.from(error);
      const wrong =
        code === 'internal' || code === 'deadline_exceeded' || code === 'unavailable' || slips.test(message);
      if (wrong) {
        const shown = inspect(request, { depth: 12, breakLength: 110, maxStringLength: 200 });
        this.failures.push(`${name} ${shown}\nanswered ${code}: ${message}`);
      }
      return undefined;
    } finally {
      if (this.#daemons().join() !== this.#pids.join()) this.failures.push(`a daemon ended after ${name}`);
    }
  }

  #daemons(): number[] {
    const { berthd, cri } = this.#bed.berth;
    return [berthd.daemon.pid, cri.pid];
  }
}
