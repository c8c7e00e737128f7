import { loadavg } from 'node:os';
import { busyboxRootfs } from '../support/busybox-rootfs.ts';
import { measureContainers } from './core/containers.ts';
import { measureContent } from './core/content.ts';
import { measureEvents } from './core/events.ts';
import { Figures, figuresTable } from './core/figures.ts';
import { startBerthdSide, startContainerdSide } from './core/side.ts';
import { measureSnapshots } from './core/snapshots.ts';
import { measureTasks } from './core/tasks.ts';
import { BenchGround } from './ground.ts';
import { privateMiB, proportionalMiB } from './memory.ts';

const measures = {
  containers: measureContainers,
  content: measureContent,
  snapshots: measureSnapshots,
  events: measureEvents,
};

export const coreParts = [...Object.keys(measures), 'tasks'];

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
    figures[index]?.set('started: private memory, MiB', privateMiB(side.pid));
    figures[index]?.set('started: proportional memory, MiB', proportionalMiB(side.pid));
  }
  for (const [name, measure] of Object.entries(measures)) {
    if (!parts.includes(name)) continue;
    for (const [index, side] of sides.entries()) {
      console.error(`bench core: ${name} of ${side.name}, load ${loadavg()[0]?.toFixed(1)}`);
      // Nodes run a daemon for weeks: what its first calls cost, on either side, is no measure of the others.
      await measure(side, new Figures());
      await measure(side, figures[index] as Figures);
    }
  }
  if (parts.includes('tasks')) await measureTasks(sides, figures);
  return figuresTable(
    sides.map(({ name }) => name),
    figures,
  );
}
