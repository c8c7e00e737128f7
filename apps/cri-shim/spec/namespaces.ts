import type { Linux } from '#common/oci/runtime-spec.ts';
import type { NamespaceOption, PodConfig } from '../cri-types.ts';

type Namespaces = NonNullable<Linux['namespaces']>;

/** Which namespaces of the host a pod shares. */
export interface PodSharing {
  readonly hostNetwork: boolean;
  readonly hostIpc: boolean;
  readonly hostPid: boolean;
}

export function podSharing(config: PodConfig): PodSharing {
  const options = config.linux?.securityContext?.namespaceOptions;
  return {
    hostNetwork: options?.network === 'NODE',
    hostIpc: options?.ipc === 'NODE',
    hostPid: options?.pid === 'NODE',
  };
}

/** Namespaces of the pause container, which holds the pod's. On the host's network the pod has its host name too. */
export function sandboxNamespaces(sharing: PodSharing, netnsPath: string, ownUsers: boolean): Namespaces {
  const namespaces: Namespaces = [{ type: 'mount' }];
  if (ownUsers) namespaces.push({ type: 'user' });
  if (!sharing.hostPid) namespaces.push({ type: 'pid' });
  if (!sharing.hostIpc) namespaces.push({ type: 'ipc' });
  if (!sharing.hostNetwork) {
    // A network namespace belongs to the user namespace that it was made in: then the OCI runtime makes both.
    namespaces.push(ownUsers ? { type: 'network' } : { type: 'network', path: netnsPath }, { type: 'uts' });
  }
  return namespaces;
}

export interface ContainerNamespaceRequest {
  readonly sharing: PodSharing;
  readonly netnsPath: string;
  /** Process id of the pause container, on the host. */
  readonly sandboxPid: number;
  readonly options: NamespaceOption | null;
  /** Process id of the container whose PID namespace is shared, for mode TARGET. */
  readonly targetPid?: number;
  readonly cgroup: boolean;
  /** The pod has a user namespace of its own. */
  readonly ownUsers: boolean;
}

/** Namespaces of a container: the pod's network, IPC and host name; processes as the container asks. */
export function containerNamespaces(request: ContainerNamespaceRequest): Namespaces {
  const { sharing, sandboxPid } = request;
  const namespaces: Namespaces = [{ type: 'mount' }];
  if (request.ownUsers) namespaces.push({ type: 'user', path: `/proc/${sandboxPid}/ns/user` });
  if (!sharing.hostNetwork) {
    namespaces.push({ type: 'network', path: request.netnsPath }, { type: 'uts', path: `/proc/${sandboxPid}/ns/uts` });
  }
  if (!sharing.hostIpc) namespaces.push({ type: 'ipc', path: `/proc/${sandboxPid}/ns/ipc` });
  switch (request.options?.pid ?? 'POD') {
    case 'CONTAINER':
      namespaces.push({ type: 'pid' });
      break;
    case 'TARGET':
      namespaces.push({ type: 'pid', path: `/proc/${request.targetPid ?? sandboxPid}/ns/pid` });
      break;
    case 'POD':
      if (!sharing.hostPid) namespaces.push({ type: 'pid', path: `/proc/${sandboxPid}/ns/pid` });
      break;
    default:
      break;
  }
  if (request.cgroup) namespaces.push({ type: 'cgroup' });
  return namespaces;
}
