import { packJson, typeUrls } from '#common/typeurl.ts';
import { processOf } from '../../support/container.ts';
import { median } from '../statistics.ts';
import { type Figures, timed } from './figures.ts';
import type { BenchSide } from './side.ts';

const count = 6;

/** Containers of busybox on a root filesystem that the client names, one after another. */
export async function measureTasks(side: BenchSide, figures: Figures): Promise<void> {
  const cpu = side.cpu.usedMs();
  const times: [number, number, number][] = [];
  for (let index = 0; index < count; index++) times.push(await runTask(side, `task-${index}`));
  figures.add('tasks: create, ms', median(times.map(([create]) => create)));
  figures.add('tasks: start, ms', median(times.map(([, start]) => start)));
  figures.add('tasks: create and start, ms', median(times.map(([create, start]) => create + start)));
  figures.add('tasks: kill and delete, ms', median(times.map(([, , end]) => end)));
  figures.add('tasks: create to delete, ms of CPU', (side.cpu.usedMs() - cpu) / count);
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
