import { packJson, typeUrls } from '#common/typeurl.ts';
import { processOf } from '../../support/container.ts';
import { median } from '../statistics.ts';
import { type Figures, timed } from './figures.ts';
import type { BenchSide } from './side.ts';

const rounds = 15;

/** Containers of busybox on a root filesystem that the client names, one after another, the sides in turn. */
export async function measureTasks(sides: readonly BenchSide[], figures: readonly Figures[]): Promise<void> {
  const times = sides.map(() => ({ create: [] as number[], start: [] as number[], end: [] as number[], cpu: 0 }));
  for (let round = -2; round < rounds; round++) {
    // The order turns, so that neither always runs in the other's wake. Negative rounds warm up.
    const order = round % 2 === 0 ? [0, 1] : [1, 0];
    for (const index of order) {
      const side = sides[index] as BenchSide;
      const of = times[index] as (typeof times)[number];
      const cpu = side.cpu.usedMs();
      const [create, start, end] = await runTask(side, `task-${round + 2}`);
      if (round < 0) continue;
      of.create.push(create);
      of.start.push(start);
      of.end.push(end);
      of.cpu += side.cpu.usedMs() - cpu;
    }
  }
  times.forEach(({ create, start, end, cpu }, index) => {
    const of = figures[index] as Figures;
    of.set('tasks: create, ms', median(create));
    of.set('tasks: start, ms', median(start));
    of.set('tasks: create and start, ms', median(create.map((ms, round) => ms + (start[round] ?? 0))));
    of.set('tasks: kill and delete, ms', median(end));
    of.set('tasks: create to delete, ms of CPU', cpu / rounds);
  });
}

async function runTask(side: BenchSide, id: string): Promise<[number, number, number]> {
  const { containers, tasks } = side.clients;
  const spec = {
    ociVersion: '1.0.2',
    process: processOf(['sleep', '1000']),
    root: { path: 'rootfs', readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
    ],
    linux: {
      cgroupsPath: `${side.cpu.path}/pods/${id}`,
      namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
    },
  };
  const container = { id, runtime: { name: 'io.containerd.runc.v2' }, spec: packJson(typeUrls.spec, spec) };
  await containers.create({ container });
  const rootfs = [{ type: 'bind', source: `${side.dir}/rootfs`, options: ['rbind', 'ro'] }];
  const create = await timed(() => tasks.create({ containerId: id, rootfs }));
  const start = await timed(() => tasks.start({ containerId: id }));
  const end = await timed(async () => {
    const ended = tasks.wait({ containerId: id });
    await tasks.kill({ containerId: id, signal: 9 });
    await ended;
    await tasks.delete({ containerId: id });
  });
  await containers.delete({ id });
  return [create, start, end];
}
