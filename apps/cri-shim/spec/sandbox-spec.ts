import type { RuntimeSpec } from '#common/oci/runtime-spec.ts';
import type { PodConfig } from '../cri-types.ts';
import type { SelinuxLabels } from '../selinux/labels.ts';
import { sandboxAnnotations } from './annotations.ts';
import { type CgroupPlacement, cgroupPlacement } from './cgroups.ts';
import type { HostFacts } from './host.ts';
import type { ImageProcess } from './image-process.ts';
import { clampOomScoreAdj, processRlimits } from './limits.ts';
import { defaultMounts } from './mounts.ts';
import { podSharing, sandboxNamespaces } from './namespaces.ts';
import { commandLine, environment } from './process.ts';
import { maskedPaths, readonlyPaths } from './protected-paths.ts';
import { seccompFor, seccompProfile } from './seccomp.ts';
import { checkSysctls } from './sysctls.ts';
import type { ProcessUser } from './user.ts';
import type { IdMap } from './user-namespace.ts';

/** runc 1.1 and crun 1.8 take it; newer versions are refused by crun 1.8. */
export const ociVersion = '1.0.2';

/** The pause process is the last of a pod that memory pressure should end. */
const sandboxOomScoreAdj = -998;
/** The least weight: pause does nothing. */
const sandboxCpuShares = 2;

export interface SandboxSpecRequest {
  readonly id: string;
  readonly config: PodConfig;
  readonly image: { readonly reference: string; readonly process: ImageProcess };
  readonly user: ProcessUser;
  readonly host: HostFacts;
  readonly netnsPath: string;
  readonly userNamespace?: IdMap | undefined;
  readonly selinux?: SelinuxLabels | undefined;
  /** Directory of the pod's /dev/shm on the host. */
  readonly shmPath: string;
  readonly resolvPath: string;
}

/** Settings that let unprivileged processes use low ports and ping, which no one but the pod can notice. */
function networkSysctls(ownUsers: boolean): Record<string, string> {
  const ports = { 'net.ipv4.ip_unprivileged_port_start': '0' };
  // The kernel refuses groups that a user namespace doesn't have.
  return ownUsers ? ports : { ...ports, 'net.ipv4.ping_group_range': '0 2147483647' };
}

/**
 * The OCI runtime spec of a pod's pause container.
 *
 * @throws invalid_argument for bad sysctls, cgroup parent, or a seccomp profile that can't be read.
 */
export function sandboxSpec(request: SandboxSpecRequest): { spec: RuntimeSpec; placement: CgroupPlacement } {
  const { id, config, image, host, userNamespace, selinux } = request;
  const ownUsers = userNamespace !== undefined;
  const sharing = podSharing(config);
  const placement = cgroupPlacement(config.linux?.cgroupParent ?? '', id, host.systemd);
  const security = config.linux?.securityContext ?? null;
  const sysctls = checkSysctls(config.linux?.sysctls ?? {}, sharing);
  const privileged = security?.privileged ?? false;
  const seccomp = privileged ? undefined : seccompFor(seccompProfile(security), [], host.seccomp);
  const spec: RuntimeSpec = {
    ociVersion,
    process: {
      args: commandLine({ command: [], args: [] }, image.process),
      cwd: image.process.workingDir || '/',
      env: environment(config.hostname, image.process, []),
      user: request.user,
      // Pause needs no capability at all.
      capabilities: { bounding: [], effective: [], permitted: [] },
      noNewPrivileges: true,
      oomScoreAdj: clampOomScoreAdj(sandboxOomScoreAdj, host.limits),
      rlimits: processRlimits(host.limits),
      ...processLabel(selinux, privileged),
    },
    root: { path: 'rootfs', readonly: true },
    mounts: [
      ...defaultMounts(),
      bind(sharing.hostIpc ? '/dev/shm' : request.shmPath, '/dev/shm'),
      // Shims that run pods in virtual machines set up the guest's DNS from it.
      bind(request.resolvPath, '/etc/resolv.conf'),
    ],
    annotations: sandboxAnnotations({ sandboxId: id, config }, image.reference),
    linux: {
      cgroupsPath: placement.cgroupsPath,
      namespaces: sandboxNamespaces(sharing, request.netnsPath, ownUsers),
      ...userNamespace,
      maskedPaths: [...maskedPaths],
      readonlyPaths: [...readonlyPaths],
      resources: { devices: [{ allow: false, access: 'rwm' }], cpu: { shares: sandboxCpuShares } },
      sysctl: sharing.hostNetwork ? sysctls : { ...networkSysctls(ownUsers), ...sysctls },
      ...(seccomp === undefined ? {} : { seccomp }),
      ...(selinux === undefined ? {} : { mountLabel: selinux.mount }),
    },
  };
  if (config.hostname !== '' && !sharing.hostNetwork) spec.hostname = config.hostname;
  return { spec, placement };
}

/** What is privileged runs as its shim does. */
export function processLabel(selinux: SelinuxLabels | undefined, privileged: boolean): { selinuxLabel?: string } {
  return selinux === undefined || privileged ? {} : { selinuxLabel: selinux.process };
}

function bind(source: string, destination: string) {
  return { source, destination, type: 'bind', options: ['rbind', 'ro', 'nosuid', 'nodev', 'noexec'] };
}
