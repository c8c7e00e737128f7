import { BerthError } from '#common/errors.ts';
import type { Linux, NamespaceType, Process, RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { CdiInjector } from '../cdi/injector.ts';
import { parentsFirst } from '../spec/mount-order.ts';
import type { Claims } from './claims.ts';
import type { NriOut } from './messages.ts';
import { mergeResources, rdtClassOf, resourcesFrom } from './resources.ts';

/**
 * Changes a finished runtime spec as a plugin asks. What has "-" before its name is removed; nothing may be set that
 * another plugin has set.
 *
 * @throws failed_precondition for a conflict and for what this node lacks.
 */
export async function adjustSpec(
  spec: RuntimeSpec,
  adjust: NriOut<'ContainerAdjustment'>,
  { claims, plugin, cdi }: { readonly claims: Claims; readonly plugin: string; readonly cdi: CdiInjector },
): Promise<void> {
  const take = (what: string) => claims.take(what, plugin);
  const keyed = <T>(kind: string, items: readonly T[], key: (item: T) => string, edit: Edit<T>) => {
    // Removals first: a plugin that removes and sets the same thing replaces it.
    const removed = items.map(key).filter((name) => name.startsWith('-'));
    for (const name of removed.map((name) => name.slice(1))) {
      claims.release(`${kind} ${name}`);
      edit.remove(name);
    }
    for (const item of items.filter((item) => !key(item).startsWith('-'))) {
      take(`${kind} ${key(item)}`);
      edit.remove(key(item));
      edit.add(item);
    }
  };
  // First, so that the plugin may change what a device brings.
  for (const { name } of adjust.cdiDevices) take(`CDI device ${name}`);
  await cdi.inject(adjust.cdiDevices.map(({ name }) => name));
  spec.linux ??= {};
  spec.annotations ??= {};
  const { linux } = spec;
  keyed('annotation', Object.entries(adjust.annotations), ([key]) => key, record(spec.annotations));
  adjustMounts(spec, adjust, keyed);
  if (spec.process !== undefined) adjustProcess(spec.process, adjust, keyed, claims, plugin);
  adjustHooks(spec, adjust.hooks);
  const wanted = adjust.linux;
  if (wanted === null) return;
  adjustDevices(linux, wanted.devices, keyed);
  keyed('namespace', wanted.namespaces, ({ type }) => type, {
    remove: (type) => {
      linux.namespaces = (linux.namespaces ?? []).filter((namespace) => namespace.type !== type);
    },
    add: ({ type, path }) => {
      linux.namespaces?.push({ type: type as NamespaceType, ...(path === '' ? {} : { path }) });
    },
  });
  linux.sysctl ??= {};
  keyed('sysctl', Object.entries(wanted.sysctl), ([key]) => key, record(linux.sysctl));
  const netDevices = { ...linux.netDevices };
  keyed('network device', Object.entries(wanted.netDevices), ([key]) => key, record(netDevices));
  if (Object.keys(netDevices).length > 0) linux.netDevices = netDevices;
  else delete linux.netDevices;
  if (wanted.resources !== null) {
    linux.resources = mergeResources(linux.resources ?? {}, resourcesFrom(wanted.resources, take));
    const closID = rdtClassOf(wanted.resources);
    if (closID !== undefined) {
      take('RDT');
      linux.intelRdt = { closID };
    }
  }
  if (wanted.cgroupsPath !== '') {
    take('the cgroups path');
    linux.cgroupsPath = wanted.cgroupsPath;
  }
  if (wanted.seccompPolicy !== null) {
    take('the seccomp policy');
    linux.seccomp = seccompOf(wanted.seccompPolicy);
  }
  if (wanted.memoryPolicy !== null) {
    take('the memory policy');
    linux.memoryPolicy = { ...wanted.memoryPolicy, flags: [...wanted.memoryPolicy.flags] };
  }
  if (wanted.rdt !== null) {
    take('RDT');
    const { closId, schemata, enableMonitoring, remove } = wanted.rdt;
    if (remove) delete linux.intelRdt;
    linux.intelRdt = {
      ...linux.intelRdt,
      ...(closId === null ? {} : { closID: closId.value }),
      ...(schemata === null ? {} : { schemata: schemata.value }),
      ...(enableMonitoring === null ? {} : { enableMonitoring: enableMonitoring.value }),
    };
    if (Object.keys(linux.intelRdt).length === 0) delete linux.intelRdt;
  }
}

interface Edit<T> {
  remove(name: string): void;
  add(item: T): void;
}

type Keyed = <T>(kind: string, items: readonly T[], key: (item: T) => string, edit: Edit<T>) => void;

function record<T>(target: Record<string, T>): Edit<readonly [string, T]> {
  return {
    remove: (key) => {
      delete target[key];
    },
    add: ([key, value]) => {
      target[key] = value;
    },
  };
}

function adjustMounts(spec: RuntimeSpec, { mounts }: NriOut<'ContainerAdjustment'>, keyed: Keyed): void {
  if (mounts.length === 0) return;
  keyed('mount', mounts, ({ destination }) => destination, {
    remove: (destination) => {
      spec.mounts = (spec.mounts ?? []).filter((mount) => mount.destination !== destination);
    },
    add: ({ destination, type, source, options }) => {
      spec.mounts?.push({ destination, type, source, options: [...options] });
    },
  });
  spec.mounts = parentsFirst(spec.mounts ?? []);
}

function adjustProcess(
  process: Process,
  adjust: NriOut<'ContainerAdjustment'>,
  keyed: Keyed,
  claims: Claims,
  plugin: string,
): void {
  const take = (what: string) => claims.take(what, plugin);
  keyed('environment variable', adjust.env, ({ key }) => key, {
    remove: (name) => {
      process.env = (process.env ?? []).filter((entry) => !entry.startsWith(`${name}=`));
    },
    add: ({ key, value }) => process.env?.push(`${key}=${value}`),
  });
  if (adjust.args.length > 0) {
    // An empty first word: the plugin means to replace another one's command line.
    const replaces = adjust.args[0] === '';
    if (replaces) claims.release('the command line');
    take('the command line');
    process.args = adjust.args.slice(replaces ? 1 : 0);
  }
  for (const { type, hard, soft } of adjust.rlimits) {
    take(`rlimit ${type}`);
    const others = (process.rlimits ?? []).filter((rlimit) => rlimit.type !== type);
    process.rlimits = [...others, { type, hard: Number(hard), soft: Number(soft) }];
  }
  const wanted = adjust.linux;
  if (wanted === null) return;
  if (wanted.oomScoreAdj !== null) {
    take('oom_score_adj');
    process.oomScoreAdj = Number(wanted.oomScoreAdj.value);
  }
  if (wanted.ioPriority !== null) {
    take('the I/O priority');
    process.ioPriority = { class: wanted.ioPriority.class, priority: wanted.ioPriority.priority };
  }
  if (wanted.scheduler !== null) {
    take('the scheduler');
    const { policy, nice, priority, flags, runtime, deadline, period } = wanted.scheduler;
    const numbers = { nice, priority, runtime: Number(runtime), deadline: Number(deadline), period: Number(period) };
    process.scheduler = { policy, flags: [...flags], ...numbers };
  }
}

function adjustHooks(spec: RuntimeSpec, hooks: NriOut<'Hooks'> | null): void {
  if (hooks === null) return;
  const stages = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'] as const;
  for (const stage of stages) {
    const added = hooks[stage].map(({ path, args, env, timeout }) => ({
      path,
      args: [...args],
      env: [...env],
      ...(timeout === null ? {} : { timeout: Number(timeout.value) }),
    }));
    if (added.length === 0) continue;
    spec.hooks = { ...spec.hooks, [stage]: [...(spec.hooks?.[stage] ?? []), ...added] };
  }
}

function adjustDevices(linux: Linux, devices: readonly NriOut<'LinuxDevice'>[], keyed: Keyed): void {
  keyed('device', devices, ({ path }) => path, {
    remove: (path) => {
      linux.devices = (linux.devices ?? []).filter((device) => device.path !== path);
    },
    add: ({ path, type, major, minor, fileMode, uid, gid }) => {
      if (type !== 'c' && type !== 'b' && type !== 'u' && type !== 'p') {
        throw new BerthError('failed_precondition', `device ${path} has type "${type}": c, b, u or p`);
      }
      const numbers = { major: Number(major), minor: Number(minor) };
      const owner = { ...(uid === null ? {} : { uid: uid.value }), ...(gid === null ? {} : { gid: gid.value }) };
      linux.devices?.push({
        path,
        type,
        ...numbers,
        ...owner,
        ...(fileMode === null ? {} : { fileMode: fileMode.value }),
      });
      if (type === 'p') return;
      const rules = linux.resources?.devices ?? [];
      linux.resources = { ...linux.resources, devices: [...rules, { allow: true, type, ...numbers, access: 'rwm' }] };
    },
  });
}

function seccompOf(policy: NriOut<'LinuxSeccomp'>): NonNullable<Linux['seccomp']> {
  const { defaultAction, defaultErrno, architectures, flags, listenerPath, listenerMetadata, syscalls } = policy;
  return {
    defaultAction,
    ...(defaultErrno === null ? {} : { defaultErrnoRet: defaultErrno.value }),
    architectures: [...architectures],
    flags: [...flags],
    ...(listenerPath === '' ? {} : { listenerPath, listenerMetadata }),
    syscalls: syscalls.map(({ names, action, errnoRet, args }) => ({
      names: [...names],
      action,
      ...(errnoRet === null ? {} : { errnoRet: errnoRet.value }),
      args: args.map(({ index, value, valueTwo, op }) => ({
        index,
        value: Number(value),
        valueTwo: Number(valueTwo),
        op,
      })),
    })),
  };
}
