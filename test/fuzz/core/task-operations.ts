/** Calls on tasks: small containers of busybox, one that stays, one that ends at once and one that can't start. */
import { join } from 'node:path';
import { isCode } from '#common/errors.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import { processOf } from '../../support/container.ts';
import type { Random } from '../../support/random.ts';
import { type Operations, operation } from './operation.ts';
import type { Side } from './side.ts';

/** What the processes do, by the first letter of their ids. */
const programs = {
  s: ['sleep', '1000'],
  e: ['sh', '-c', 'exit 3'],
  m: ['/missing'],
} as const;

const containers = ['s1', 's1', 's1', 's2', 'e1', 'm1'];
const main = { ns: 'main' };
const killed = 9;
/** For a process to end that has been killed or has nothing to do; a frozen one doesn't. */
const endMs = 8000;

export async function makeTaskContainers(side: Side): Promise<void> {
  for (const id of new Set(containers)) {
    const spec = {
      ociVersion: '1.0.2',
      process: processOf(argsOf(id) ?? programs.s),
      root: { path: 'rootfs', readonly: true },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc' },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      ],
      linux: {
        cgroupsPath: `${side.cgroup}/${id}`,
        namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
      },
    };
    const container = { id, runtime: { name: 'io.containerd.runc.v2' }, spec: packJson(typeUrls.spec, spec) };
    await side.clients.containers.create({ container }, side.options(main));
  }
}

/** Ends and deletes all tasks. */
export async function clearTasks(side: Side): Promise<void> {
  const { tasks } = side.clients;
  const options = side.options(main);
  for (const { id: containerId } of (await tasks.list({}, options)).tasks) {
    await ignore(tasks.resume({ containerId }, options));
    await ignore(tasks.kill({ containerId, signal: killed, all: true }, options));
    await ended(side, containerId, '');
    await ignore(tasks.delete({ containerId }, options));
  }
}

function argsOf(id: string): readonly string[] | undefined {
  return programs[id[0] as keyof typeof programs];
}

function process(random: Random): { id: string; execId: string } {
  const id = random.mostly(containers, ['none', '', 'a/b'], 0.04);
  return { id, execId: random.mostly(['', '', 'xs', 'xe', 'xm'], ['none', 'a/b'], 0.04) };
}

function container(random: Random): { id: string } {
  return { id: process(random).id };
}

/** Waits for a process that is about to end, so that the next step finds it ended on both sides. */
async function ended(side: Side, id: string, execId: string): Promise<unknown> {
  try {
    const options = { ...side.options(main), timeoutMs: endMs };
    return (await side.clients.tasks.wait({ containerId: id, execId }, options)).exitStatus;
  } catch (error) {
    if (isCode(error, 'deadline_exceeded')) return 'goes on';
    if (isCode(error, 'not_found')) return 'unknown';
    throw error;
  }
}

async function ignore(call: Promise<unknown>): Promise<void> {
  await call.catch(() => undefined);
}

export const taskOperations: Operations = {
  'tasks.create': operation(7, container, (side, { id }) => {
    const rootfs = [{ type: 'bind', source: join(side.dir, 'rootfs'), options: ['rbind', 'ro'] }];
    return side.clients.tasks.create({ containerId: id, rootfs }, side.options(main));
  }),
  'tasks.start': operation(9, process, async (side, { id, execId }) => {
    const started = await side.clients.tasks.start({ containerId: id, execId }, side.options(main));
    const short = execId === '' ? id.startsWith('e') : execId.endsWith('e');
    return { started, ...(short ? { ended: await ended(side, id, execId) } : {}) };
  }),
  'tasks.exec': operation(6, process, (side, { id, execId }) => {
    const spec = packJson(typeUrls.process, processOf(argsOf(execId.slice(1)) ?? programs.s));
    return side.clients.tasks.exec({ containerId: id, execId, spec }, side.options(main));
  }),
  'tasks.kill': operation(
    5,
    (random) => ({
      ...process(random),
      signal: random.mostly([killed], [0, 999], 0.2),
      all: random.chance(0.2),
    }),
    async (side, { id, execId, signal, all }) => {
      await side.clients.tasks.kill({ containerId: id, execId, signal, all }, side.options(main));
      return signal === killed ? { ended: await ended(side, id, execId) } : {};
    },
  ),
  'tasks.get': operation(6, process, (side, { id, execId }) =>
    side.clients.tasks.get({ containerId: id, execId }, side.options(main)),
  ),
  'tasks.list': operation(2, container, async (side) => {
    const { tasks } = await side.clients.tasks.list({}, side.options(main));
    return tasks.sort((a, b) => (a.id < b.id ? -1 : 1));
  }),
  'tasks.listPids': operation(2, container, async (side, { id }) => {
    const { processes } = await side.clients.tasks.listPids({ containerId: id }, side.options(main));
    return processes.length;
  }),
  'tasks.wait': operation(2, process, async (side, { id, execId }) => {
    const { process: state } = await side.clients.tasks.get({ containerId: id, execId }, side.options(main));
    return state?.status === 'STOPPED' ? ended(side, id, execId) : 'not ended';
  }),
  'tasks.delete': operation(5, container, (side, { id }) =>
    side.clients.tasks.delete({ containerId: id }, side.options(main)),
  ),
  'tasks.deleteProcess': operation(4, process, (side, { id, execId }) =>
    side.clients.tasks.deleteProcess({ containerId: id, execId: execId || 'xs' }, side.options(main)),
  ),
  'tasks.pause': operation(1, container, (side, { id }) =>
    side.clients.tasks.pause({ containerId: id }, side.options(main)),
  ),
  'tasks.resume': operation(2, container, (side, { id }) =>
    side.clients.tasks.resume({ containerId: id }, side.options(main)),
  ),
  'tasks.closeIO': operation(1, process, (side, { id, execId }) =>
    side.clients.tasks.closeIO({ containerId: id, execId, stdin: true }, side.options(main)),
  ),
  'tasks.resizePty': operation(1, process, (side, { id, execId }) =>
    side.clients.tasks.resizePty({ containerId: id, execId, width: 80, height: 25 }, side.options(main)),
  ),
  'tasks.update': operation(
    1,
    (random) => ({ ...container(random), limit: random.mostly([64 << 20], [-7], 0.2) }),
    (side, { id, limit }) => {
      const resources = packJson(typeUrls.linuxResources, { memory: { limit } });
      return side.clients.tasks.update({ containerId: id, resources }, side.options(main));
    },
  ),
};
