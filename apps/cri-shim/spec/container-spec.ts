import { BerthError } from '#common/errors.ts';
import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { ContainerConfig, PodConfig } from '../cri-types.ts';
import type { RuntimeFeatures } from '../runtime-features.ts';
import type { SelinuxLabels } from '../selinux/labels.ts';
import { containerAnnotations } from './annotations.ts';
import { appArmorFor } from './apparmor.ts';
import { containerCapabilities } from './capabilities.ts';
import { type CgroupPlacement, cgroupPlacement } from './cgroups.ts';
import { type DeviceRule, hostDevices, requestedDevices } from './devices.ts';
import type { HostFacts } from './host.ts';
import type { ImageProcess } from './image-process.ts';
import { clampOomScoreAdj, processRlimits } from './limits.ts';
import { cgroupMount, containerMounts, defaultMounts, type PodMount } from './mounts.ts';
import { containerNamespaces, podSharing } from './namespaces.ts';
import { commandLine, environment } from './process.ts';
import { maskedPaths, readonlyPaths } from './protected-paths.ts';
import { ociResources } from './resources.ts';
import { ociVersion, processLabel } from './sandbox-spec.ts';
import { seccompFor, seccompProfile } from './seccomp.ts';
import { securityProfile } from './security-profile.ts';
import type { ProcessUser } from './user.ts';
import { checkContainerUsers, podIdMap } from './user-namespace.ts';

export interface ContainerSpecRequest {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly image: { readonly name: string; readonly process: ImageProcess };
  readonly user: ProcessUser;
  readonly host: HostFacts;
  readonly features: RuntimeFeatures;
  readonly hostname: string;
  readonly sandbox: {
    readonly id: string;
    readonly config: PodConfig;
    readonly pid: number;
    readonly netnsPath: string;
  };
  readonly selinux?: SelinuxLabels | undefined;
  /** Process id of the container whose PID namespace is shared, for mode TARGET. */
  readonly targetPid?: number;
  /** /etc/hosts, /etc/hostname, /etc/resolv.conf and /dev/shm of the pod. */
  readonly podMounts: readonly PodMount[];
}

/**
 * The OCI runtime spec of a container, from its pod's wishes and its image's.
 *
 * @throws invalid_argument naming the field that can't be met; failed_precondition when the host lacks something.
 */
export async function containerSpec(
  request: ContainerSpecRequest,
): Promise<{ spec: RuntimeSpec; placement: CgroupPlacement }> {
  const { id, config, image, host, sandbox, selinux } = request;
  const security = config.linux?.securityContext ?? null;
  const privileged = security?.privileged ?? false;
  if (privileged && !(sandbox.config.linux?.securityContext?.privileged ?? false)) {
    throw new BerthError(
      'invalid_argument',
      `a privileged container needs a privileged pod, and ${sandbox.id} is none`,
    );
  }
  const placement = cgroupPlacement(sandbox.config.linux?.cgroupParent ?? '', id, host.systemd);
  const capabilities = containerCapabilities({
    add: security?.capabilities?.addCapabilities ?? [],
    drop: security?.capabilities?.dropCapabilities ?? [],
    privileged,
    available: host.capabilities,
  });
  // A host's cgroup tree stays visible to privileged containers and on cgroup v1, where a namespace hides too little.
  const cgroupNamespace = host.unifiedCgroups && !privileged;
  const base = [...defaultMounts(), cgroupMount(privileged)];
  if (privileged) for (const mount of base) if (mount.type === 'sysfs') mount.options = writable(mount.options ?? []);
  const userNamespace = podIdMap(sandbox.config);
  checkContainerUsers(security?.namespaceOptions ?? null, userNamespace);
  const support = { features: request.features, userNamespace, mountLabel: selinux?.mount };
  const { mounts, rootfsPropagation } = await containerMounts(base, config.mounts, request.podMounts, support);
  const { devices, rules } = await requestedDevices(config.devices);
  const deviceRules: DeviceRule[] = [{ allow: false, access: 'rwm' }, ...rules];
  if (privileged) {
    devices.unshift(...(await hostDevices()));
    deviceRules.push({ allow: true, access: 'rwm' });
  }
  const seccomp = privileged ? undefined : seccompFor(seccompProfile(security), capabilities.bounding, host.seccomp);
  const appArmorField = { name: 'apparmor_profile', value: security?.apparmorProfile ?? '' };
  const appArmorProfile = securityProfile(security?.apparmor ?? null, appArmorField);
  const appArmor = await appArmorFor(appArmorProfile, privileged, host.appArmor);
  const resources = config.linux?.resources ?? null;

  const spec: RuntimeSpec = {
    ociVersion,
    process: {
      terminal: config.tty,
      args: commandLine(config, image.process),
      cwd: workingDirectory(config.workingDir || image.process.workingDir || '/'),
      env: environment(request.hostname, image.process, config.envs),
      user: request.user,
      capabilities,
      noNewPrivileges: !privileged && (security?.noNewPrivs ?? false),
      rlimits: processRlimits(host.limits),
      ...(appArmor === undefined ? {} : { apparmorProfile: appArmor }),
      ...processLabel(selinux, privileged),
    },
    root: { path: 'rootfs', readonly: security?.readonlyRootfs ?? false },
    mounts,
    annotations: containerAnnotations(
      { sandboxId: sandbox.id, config: sandbox.config },
      config.metadata?.name ?? '',
      image.name,
    ),
    linux: {
      cgroupsPath: placement.cgroupsPath,
      namespaces: containerNamespaces({
        sharing: podSharing(sandbox.config),
        netnsPath: sandbox.netnsPath,
        sandboxPid: sandbox.pid,
        options: security?.namespaceOptions ?? null,
        cgroup: cgroupNamespace,
        ownUsers: userNamespace !== undefined,
        ...(request.targetPid === undefined ? {} : { targetPid: request.targetPid }),
      }),
      ...userNamespace,
      maskedPaths: privileged ? [] : [...(security === null ? maskedPaths : security.maskedPaths)],
      readonlyPaths: privileged ? [] : [...(security === null ? readonlyPaths : security.readonlyPaths)],
      resources: {
        devices: deviceRules,
        ...(resources === null ? {} : ociResources(resources, host.controllers)),
      },
      ...(devices.length === 0 ? {} : { devices }),
      ...(seccomp === undefined ? {} : { seccomp }),
      ...(rootfsPropagation === undefined ? {} : { rootfsPropagation }),
      ...(selinux === undefined ? {} : { mountLabel: selinux.mount }),
    },
  };
  if (resources !== null && spec.process !== undefined) {
    spec.process.oomScoreAdj = clampOomScoreAdj(Number(resources.oomScoreAdj), host.limits);
  }
  return { spec, placement };
}

function workingDirectory(path: string): string {
  if (path.startsWith('/')) return path;
  throw new BerthError('invalid_argument', `working directory ${JSON.stringify(path)} must be an absolute path`);
}

function writable(options: readonly string[]): string[] {
  return options.map((option) => (option === 'ro' ? 'rw' : option));
}
