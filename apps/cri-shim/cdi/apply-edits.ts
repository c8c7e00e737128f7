import type { Linux, RuntimeSpec, SpecMount } from '#common/oci/runtime-spec.ts';
import { parentsFirst } from '../spec/mount-order.ts';
import { mergeEnvironment } from '../spec/process.ts';
import { deviceNode } from './device-node.ts';
import type { ContainerEdits } from './spec-document.ts';

/**
 * Changes a runtime spec as a CDI specification says (SPEC.md, "OCI Edits"). What is there already under the same name,
 * path or destination is replaced.
 *
 * @throws failed_precondition for a device node that the host doesn't have
 */
export async function applyEdits(spec: RuntimeSpec, edits: ContainerEdits): Promise<void> {
  const { process } = spec;
  spec.linux ??= {};
  const { linux } = spec;
  if (process !== undefined && edits.env.length > 0) process.env = mergeEnvironment(process.env ?? [], edits.env);
  for (const node of edits.deviceNodes) {
    const device = await deviceNode(node, process?.user ?? { uid: 0, gid: 0 });
    linux.devices = [...(linux.devices ?? []).filter(({ path }) => path !== device.path), device];
    const { type, major, minor } = device;
    if (type !== 'b' && type !== 'c') continue;
    const access = node.permissions === 'none' ? '' : node.permissions || 'rwm';
    const rules = linux.resources?.devices ?? [];
    const rule = { allow: true, type, ...(major === undefined ? {} : { major, minor: minor ?? 0 }), access };
    linux.resources = { ...linux.resources, devices: [...rules, rule] };
  }
  for (const { hostInterfaceName, name } of edits.netDevices) {
    linux.netDevices = { ...linux.netDevices, [hostInterfaceName]: { name } };
  }
  addMounts(spec, edits.mounts);
  for (const { hookName, path, args, env, timeout } of edits.hooks) {
    const hook = {
      path,
      ...(args.length === 0 ? {} : { args }),
      ...(env.length === 0 ? {} : { env }),
      ...(timeout == null ? {} : { timeout }),
    };
    spec.hooks = { ...spec.hooks, [hookName]: [...(spec.hooks?.[hookName] ?? []), hook] };
  }
  if (edits.intelRdt != null) linux.intelRdt = intelRdtOf(edits.intelRdt);
  const gids = edits.additionalGids.filter((gid) => gid !== 0);
  if (process !== undefined && gids.length > 0) {
    process.user.additionalGids = [...new Set([...(process.user.additionalGids ?? []), ...gids])];
  }
}

function addMounts(spec: RuntimeSpec, added: ContainerEdits['mounts']): void {
  if (added.length === 0) return;
  const taken = new Set(added.map(({ containerPath }) => containerPath));
  const kept = (spec.mounts ?? []).filter(({ destination }) => !taken.has(destination));
  const mounts = added.map(({ hostPath, containerPath, type, options }): SpecMount => {
    const isBind = type === 'bind' || options.some((option) => option === 'bind' || option === 'rbind');
    return {
      destination: containerPath,
      source: hostPath,
      ...(type === '' ? {} : { type }),
      options,
      // In a pod with users of its own the files belong to those they belong to on the host.
      ...(isBind ? idMappings(spec.linux) : {}),
    };
  });
  spec.mounts = parentsFirst([...kept, ...mounts]);
}

function idMappings(linux: Linux | undefined): Partial<SpecMount> {
  const { uidMappings, gidMappings } = linux ?? {};
  return uidMappings === undefined || gidMappings === undefined ? {} : { uidMappings, gidMappings };
}

function intelRdtOf({
  closID,
  l3CacheSchema,
  memBwSchema,
  schemata,
  enableMonitoring,
}: NonNullable<ContainerEdits['intelRdt']>): NonNullable<Linux['intelRdt']> {
  return {
    ...(closID === '' ? {} : { closID }),
    ...(l3CacheSchema === '' ? {} : { l3CacheSchema }),
    ...(memBwSchema === '' ? {} : { memBwSchema }),
    ...(schemata == null ? {} : { schemata }),
    ...(enableMonitoring ? { enableMonitoring } : {}),
  };
}
