import { loadavg } from 'node:os';
import { busyboxRootfs } from '../support/busybox-rootfs.ts';
import { measureContainers } from './core/containers.ts';
import { measureContent } from './core/content.ts';
import { measureEvents } from './core/events.ts';
import { Figures, figuresTable } from './core/figures.ts';
import { type BenchSide, startBerthdSide, startContainerdSide } from './core/side.ts';
import { measureSnapshots } from './core/snapshots.ts';
import { measureTasks } from './core/tasks.ts';
import { BenchGround } from './ground.ts';
import { privateMiB, proportionalMiB } from './memory.ts';

const measures = {
  containers: measureContainers,
  content: measureContent,
  snapshots: measureSnapshots,
  events: measureEvents,
  tasks: measureTasks,
};

export const coreParts = Object.keys(measures);

const rounds = 5;

/** `npm run bench -- core`: berthd's API beside that of Debian's containerd, the same client on both. */
export async function coreBench(parts = coreParts): Promise<string> {
  await using ground = new BenchGround();
  const { dir, cgroup } = ground;
  await using stack = new AsyncDisposableStack();
  busyboxRootfs(`${dir}/rootfs`);
  const sides = [
    stack.use(await startBerthdSide(dir, `/${cgroup}`)),
    stack.use(await startContainerdSide(dir, `/${cgroup}`)),
  ];
  const figures = sides.map(() => new Figures());
  for (const [index, side] of sides.entries()) {
    figures[index]?.add('started: private memory, MiB', privateMiB(side.pid));
    figures[index]?.add('started: proportional memory, MiB', proportionalMiB(side.pid));
  }
  for (const [name, measure] of Object.entries(measures)) {
    if (!parts.includes(name)) continue;
    for (const side of sides) {
      // Nodes run a daemon for weeks: what its first calls cost, on either side, is no measure of the others.
      await measure(side, new Figures());
    }
    for (let round = 0; round < rounds; round++) {
      console.error(`bench core: ${name}, round ${round + 1} of ${rounds}, load ${loadavg()[0]?.toFixed(1)}`);
      const turn: [BenchSide, Figures | undefined][] = sides.map((side, index) => [side, figures[index]]);
      // The order changes, so that neither always runs in the other's wake.
      if (round % 2 === 1) turn.reverse();
      for (const [side, of] of turn) await measure(side, of as Figures);
    }
  }
  return figuresTable(
    sides.map(({ name }) => name),
    figures,
  );
}
