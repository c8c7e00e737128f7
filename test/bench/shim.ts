/**
 * `npm run bench -- shim`: our shim beside containerd's, all under the same berthd with the same runc.
 *
 * Containers and commands are started in turn, one of each kind; memory is taken with a hundred idle ones of a kind at a time.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Table from 'cli-table3';
import { startBerthd } from '../support/berthd.ts';
import { busyboxImage } from '../support/busybox-image.ts';
import { killCgroups, removeCgroups } from '../support/cgroups.ts';
import { importImage } from '../support/client-route.ts';
import { newerContainerd } from '../support/peers.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { CpuAccount } from './cpu-account.ts';
import { type ShimFigures, type ShimKind, ShimRuns } from './shim-runs.ts';
import { mean, median } from './statistics.ts';

const rounds = 40;
const execs = 40;
const logs = 5;
const idle = 100;
const pods = 10;

/** Measures, and answers the table of figures. */
export async function shimBench(): Promise<string> {
  const dir = scratchDir();
  const namespace = dir.slice(dir.lastIndexOf('/') + 1).toLowerCase();
  try {
    // Containers of no pod have a shim each all the same.
    const config = join(dir, 'berthd.toml');
    writeFileSync(config, '[shim]\nper = "pod"\n');
    const berthd = await startBerthd({ dir, config, logLevel: 'warn' });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => berthd.daemon.stop());
    const clients = stack.use(berthd.clients(namespace));
    await clients.namespaces.create({ namespace: { name: namespace } });
    const chain = await importImage(clients, busyboxImage(), 'docker.io/library/busybox:latest');
    const cpu = new CpuAccount(`/${namespace}/account`);
    cpu.add(berthd.daemon.pid);
    const runs = new ShimRuns({ dir, namespace, clients, chain, cpu, berthd });
    const kinds = kindsHere();
    const figures = new Map(kinds.map((kind) => [kind, emptyFigures()]));
    const of = (kind: ShimKind): ShimFigures => figures.get(kind) as ShimFigures;

    progress(`${rounds} containers of each kind, one after another`);
    for (let round = -3; round < rounds; round++) {
      for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) {
        await runs.startAndRemove(kind, round < 0 ? emptyFigures() : of(kind));
      }
    }
    progress(`${execs} commands in a container of each kind, in turn`);
    await runs.execLatencies(figures, execs);
    progress(`${logs} logs of each kind, in turn with a plain pipe`);
    const plain = median(await runs.logRates(figures, logs));
    for (const kind of kinds) {
      progress(`${kind.name}: ${idle} idle containers, ${pods} pods of two`);
      await runs.idleMemory(kind, idle, of(kind));
      of(kind).podMiB = await runs.podMemory(kind, pods);
    }
    return report(
      kinds.map((kind) => [kind.name, of(kind)] as const),
      plain,
    );
  } finally {
    await killCgroups(namespace);
    removeScratch(dir);
    removeCgroups(namespace);
  }
}

function kindsHere(): ShimKind[] {
  const theirs = '/usr/bin/containerd-shim-runc-v2';
  const newer = newerContainerd.command('containerd-shim-runc-v2');
  return [
    { name: 'Berth', runtime: 'io.containerd.runc.v2' },
    { name: 'containerd 1.6', runtime: theirs },
    { name: 'containerd 2.1', runtime: newer },
  ].filter(({ runtime }) => !runtime.startsWith('/') || existsSync(runtime));
}

function emptyFigures(): ShimFigures {
  return {
    ...{ create: [], start: [], remove: [], startCpu: [], shimCpu: [], allCpu: [], exec: [], log: [] },
    ...{ privateMiB: 0, proportionalMiB: 0, podMiB: 0, templateMiB: 0 },
  };
}

function report(results: readonly (readonly [string, ShimFigures])[], plainRate: number): string {
  const rows: [string, string, (figures: ShimFigures) => number][] = [
    ['create, median', 'ms', ({ create }) => median(create)],
    ['start, median', 'ms', ({ start }) => median(start)],
    ['delete, median', 'ms', ({ remove }) => median(remove)],
    ['CPU of create and start, mean', 'ms', ({ startCpu }) => mean(startCpu)],
    ["of it the shim's own, mean", 'ms', ({ shimCpu }) => mean(shimCpu)],
    ['CPU from create to deleted, mean', 'ms', ({ allCpu }) => mean(allCpu)],
    ['a command in a container, median', 'ms', ({ exec }) => median(exec)],
    ['log, median', 'MB/s', ({ log }) => median(log)],
    [`private memory of an idle shim, mean of ${idle}`, 'MiB', ({ privateMiB: size }) => size],
    [`PSS of an idle shim, mean of ${idle}`, 'MiB', ({ proportionalMiB: size }) => size],
    ['private memory of what shims are forked from, once', 'MiB', ({ templateMiB }) => templateMiB],
    ['private memory for a pod of two containers, a shim each', 'MiB', ({ privateMiB: size }) => 2 * size],
    ['private memory for a pod of two containers in one shim', 'MiB', ({ podMiB }) => podMiB],
  ];
  const lines = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
  const head = ['', '', ...results.map(([name]) => name)];
  const table = new Table({ head, chars: lines, style: { head: [], border: [] } });
  for (const [label, unit, figure] of rows) {
    table.push([label, unit, ...results.map(([, figures]) => figure(figures).toFixed(2))]);
  }
  return `${table.toString()}\nA plain pipe takes ${plainRate.toFixed(0)} MB/s.`;
}

function progress(what: string): void {
  console.error(`bench: ${what}`);
}
