import { BerthError } from '#common/errors.ts';
import type { LinuxResources } from '#common/oci/runtime-spec.ts';
import type { NriIn, NriOut } from './messages.ts';

/** Fields of NRI's LinuxMemory and LinuxCPU by their names in the runtime specification. */
const memoryFields = {
  limit: 'limit',
  reservation: 'reservation',
  swap: 'swap',
  kernel: 'kernel',
  kernelTCP: 'kernelTcp',
  swappiness: 'swappiness',
  disableOOMKiller: 'disableOomKiller',
  useHierarchy: 'useHierarchy',
} as const;
const cpuFields = {
  shares: 'shares',
  quota: 'quota',
  period: 'period',
  realtimeRuntime: 'realtimeRuntime',
  realtimePeriod: 'realtimePeriod',
} as const;

/** Limits of a runtime spec as plugins see them. */
export function describeResources(resources: LinuxResources): NriIn<'LinuxResources'> {
  const { memory = {}, cpu = {}, hugepageLimits = [], unified = {}, pids, devices = [] } = resources;
  const present = (fields: Readonly<Record<string, string>>, values: object) =>
    Object.fromEntries(
      Object.entries(fields).flatMap(([from, to]) => {
        const value = (values as Record<string, unknown>)[from];
        return value === undefined ? [] : [[to, { value }]];
      }),
    );
  return {
    memory: present(memoryFields, memory),
    cpu: { ...present(cpuFields, cpu), cpus: cpu.cpus ?? '', mems: cpu.mems ?? '' },
    hugepageLimits: hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified,
    devices: devices.map(({ allow, type = '', access = '', major, minor }) => ({
      allow,
      type,
      access,
      ...(major === undefined ? {} : { major: { value: major } }),
      ...(minor === undefined ? {} : { minor: { value: minor } }),
    })),
    ...(pids === undefined ? {} : { pids }),
  };
}

/**
 * The limits that a plugin sets, each reported to `take` by its name. The RDT class is no limit of the runtime spec: see
 * {@link rdtClassOf}.
 *
 * @throws failed_precondition for a class of block I/O, which this node has no definitions of.
 */
export function resourcesFrom(message: NriOut<'LinuxResources'>, take: (field: string) => void): LinuxResources {
  const result: LinuxResources = {};
  const pick = (kind: string, fields: Readonly<Record<string, string>>, source: object | null) => {
    const found: Record<string, number | boolean | string> = {};
    for (const [to, from] of Object.entries(fields)) {
      const field = (source as Record<string, { value: string | number | boolean } | null> | null)?.[from];
      if (field == null) continue;
      take(`${kind}.${to}`);
      found[to] = typeof field.value === 'boolean' ? field.value : Number(field.value);
    }
    return found;
  };
  const memory = pick('memory', memoryFields, message.memory);
  const cpu = pick('cpu', cpuFields, message.cpu);
  for (const field of ['cpus', 'mems'] as const) {
    const text = message.cpu?.[field] ?? '';
    if (text === '') continue;
    take(`cpu.${field}`);
    cpu[field] = text;
  }
  if (Object.keys(memory).length > 0) result.memory = memory;
  if (Object.keys(cpu).length > 0) result.cpu = cpu;
  for (const { pageSize, limit } of message.hugepageLimits) {
    take(`hugepage limit ${pageSize}`);
    result.hugepageLimits = [...(result.hugepageLimits ?? []), { pageSize, limit: Number(limit) }];
  }
  for (const [key, value] of Object.entries(message.unified)) {
    take(`unified ${key}`);
    result.unified = { ...result.unified, [key]: value };
  }
  if (message.pids !== null) {
    take('pids.limit');
    result.pids = { limit: Number(message.pids.limit) };
  }
  const blockio = message.blockioClass?.value;
  if (blockio) throw new BerthError('failed_precondition', `block I/O class "${blockio}" is not defined on this node`);
  return result;
}

/** The class of cache and memory bandwidth that a plugin chooses for a new container: a directory of resctrl. */
export function rdtClassOf({ rdtClass }: NriOut<'LinuxResources'>): string | undefined {
  return rdtClass?.value || undefined;
}

/**
 * The limits that a plugin changes of a container that is there.
 *
 * @throws failed_precondition for classes.
 */
export function updatedResources(message: NriOut<'LinuxResources'>): LinuxResources {
  const rdt = rdtClassOf(message);
  if (rdt === undefined) return resourcesFrom(message, () => undefined);
  throw new BerthError('failed_precondition', `RDT class "${rdt}": a container has it from its creation or not at all`);
}

/** Limits with others over them; huge page limits and the unified map by entry. */
export function mergeResources(held: LinuxResources, wanted: LinuxResources): LinuxResources {
  const result: LinuxResources = { ...held, ...wanted };
  if (held.memory ?? wanted.memory) result.memory = { ...held.memory, ...wanted.memory };
  if (held.cpu ?? wanted.cpu) result.cpu = { ...held.cpu, ...wanted.cpu };
  if (held.unified ?? wanted.unified) result.unified = { ...held.unified, ...wanted.unified };
  if (held.hugepageLimits !== undefined && wanted.hugepageLimits !== undefined) {
    const sizes = new Set(wanted.hugepageLimits.map(({ pageSize }) => pageSize));
    const kept = held.hugepageLimits.filter(({ pageSize }) => !sizes.has(pageSize));
    result.hugepageLimits = [...kept, ...wanted.hugepageLimits];
  }
  return result;
}
