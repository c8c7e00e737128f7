/**
 * `npm run bench -- pods`: Berth beside Debian's containerd, in the same run with the same runc.
 *
 * Pod starts are interleaved, one of each in turn; memory and CPU are taken with 20 pods running. Everything lives in
 * a scratch folder and is gone at the end. Figures depend on the machine and on what else it does: compare columns,
 * not runs.
 */

import Table from 'cli-table3';
import { startBoth } from './both.ts';
import { BenchGround } from './ground.ts';
import { runtimeMemory, shimMemory } from './memory.ts';
import { type PodTimes, removePod, type StartedPod, startPod } from './pod.ts';
import type { BenchRuntime } from './runtime.ts';
import { median } from './statistics.ts';

const rounds = 15;
const standing = 20;

interface Figures {
  readonly starts: PodTimes[];
  readonly removals: number[];
  cpuPerPod: number;
  memoryPerPod: number;
  shims: number[];
}

/** Measures, and answers the table of figures. */
export async function podsBench(): Promise<string> {
  await using ground = new BenchGround();
  const { dir, cgroup } = ground;
  await using stack = new AsyncDisposableStack();
  const runtimes = await startBoth(dir, cgroup, stack);

  const figures = new Map(runtimes.map((runtime) => [runtime, emptyFigures()]));
  const of = (runtime: BenchRuntime): Figures => figures.get(runtime) as Figures;

  progress(`${rounds} pods each, one after another`);
  for (let round = -2; round < rounds; round++) {
    // The order turns, so that neither always runs in the other's wake. Negative rounds warm up.
    for (const runtime of round % 2 === 0 ? runtimes : [...runtimes].reverse()) {
      const pod = await startPod(runtime, dir, `round-${round + 2}`);
      const removal = await removePod(runtime, pod);
      if (round < 0) continue;
      of(runtime).starts.push(pod.times);
      of(runtime).removals.push(removal);
    }
  }

  for (const runtime of runtimes) {
    progress(`${standing} pods of ${runtime.name} at a time`);
    await settle();
    const before = { cpu: runtime.cpu.usedMs(), memory: runtimeMemory(runtime) };
    const pods: StartedPod[] = [];
    for (let index = 0; index < standing; index++) {
      pods.push(await startPod(runtime, dir, `standing-${index}`));
    }
    await settle();
    const result = of(runtime);
    result.cpuPerPod = (runtime.cpu.usedMs() - before.cpu) / standing;
    result.memoryPerPod = (runtimeMemory(runtime) - before.memory) / standing;
    result.shims = shimMemory(runtime);
    for (const pod of pods) await removePod(runtime, pod);
  }

  return report(runtimes.map((runtime) => ({ name: runtime.name, figures: of(runtime) })));
}

function emptyFigures(): Figures {
  return { starts: [], removals: [], cpuPerPod: 0, memoryPerPod: 0, shims: [] };
}

function report(results: readonly { name: string; figures: Figures }[]): string {
  const total = ({ sandbox, create, start }: PodTimes): number => sandbox + create + start;
  const rows: [string, string, (figures: Figures) => number][] = [
    ['sandbox, median', 'ms', ({ starts }) => median(starts.map(({ sandbox }) => sandbox))],
    ['create, median', 'ms', ({ starts }) => median(starts.map(({ create }) => create))],
    ['start, median', 'ms', ({ starts }) => median(starts.map(({ start }) => start))],
    ['pod start, median', 'ms', ({ starts }) => median(starts.map(total))],
    ['stop and remove, median', 'ms', ({ removals }) => median(removals)],
    ['CPU per pod started', 'ms', ({ cpuPerPod }) => cpuPerPod],
    ['private memory per pod', 'MiB', ({ memoryPerPod }) => memoryPerPod],
    ['private memory per idle shim, mean', 'MiB', ({ shims }) => shims.reduce((a, b) => a + b, 0) / shims.length],
    ['shims per pod', '', ({ shims }) => shims.length / standing],
  ];
  const lines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const head = ['', '', ...results.map(({ name }) => name), 'ratio'];
  const table = new Table({ head, chars: lines, style: { head: [], border: [] } });
  for (const [label, unit, figure] of rows) {
    const values = results.map(({ figures }) => figure(figures));
    const [ours, theirs] = values as [number, number];
    table.push([label, unit, ...values.map((value) => value.toFixed(2)), (ours / theirs).toFixed(2)]);
  }
  return table.toString();
}

function progress(what: string): void {
  console.error(`bench: ${what}`);
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2000));
}
