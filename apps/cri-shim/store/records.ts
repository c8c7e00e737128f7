import { BerthError } from '#common/errors.ts';
import type { CniResult } from '../cni/result.ts';
import type { ContainerConfig, ContainerResources, PodConfig } from '../cri-types.ts';
import type { SelinuxLabels } from '../selinux/labels.ts';

/**
 * What berth-cri keeps of pods and containers: extensions of the core's container records, as JSON. Metadata is
 * written once; status holds facts, from which states are derived. Times are nanoseconds since the epoch, in decimal.
 */
export const extensions = {
  sandbox: 'berth.cri.v1.Sandbox',
  sandboxStatus: 'berth.cri.v1.SandboxStatus',
  container: 'berth.cri.v1.Container',
  containerStatus: 'berth.cri.v1.ContainerStatus',
} as const;

/** Label of every record, by which other tools tell pods from containers. */
export const kindLabel = 'io.cri-containerd.kind';

const recordVersion = 1;

export interface SandboxMetadata {
  readonly version: typeof recordVersion;
  readonly id: string;
  readonly name: string;
  readonly config: PodConfig;
  readonly runtimeHandler: string;
  readonly createdAt: string;
  /** Where the pod's network namespace is pinned; empty on the host's network. */
  readonly netnsPath: string;
  /** Where the node has SELinux. */
  readonly selinux?: SelinuxLabels;
}

export interface SandboxStatus {
  readonly version: typeof recordVersion;
  /** RunPodSandbox got to its end. A record without it is the rest of a crash. */
  readonly startedAt?: string;
  /** The pause process has ended. */
  readonly exitedAt?: string;
  readonly addresses?: readonly string[];
  readonly cniResult?: CniResult;
  /** After UpdatePodSandboxResources. */
  readonly overhead?: ContainerResources;
  readonly resources?: ContainerResources;
  /** Network and files of the pod have been given back. */
  readonly releasedAt?: string;
}

export interface ContainerMetadata {
  readonly version: typeof recordVersion;
  readonly id: string;
  readonly name: string;
  readonly sandboxId: string;
  readonly config: ContainerConfig;
  readonly createdAt: string;
  /** Digest of the image's configuration. */
  readonly imageId: string;
  /** A repository digest of the image, or its id. */
  readonly imageRef: string;
  readonly imageName: string;
  /** Absolute; empty when there is no log. */
  readonly logPath: string;
  /** Number of the signal that asks it to end. */
  readonly stopSignal: number;
  readonly user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] };
  /** Where the node has SELinux. */
  readonly selinux?: SelinuxLabels;
}

export interface ContainerStatus {
  readonly version: typeof recordVersion;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  /** Why it ended, where the exit code doesn't say: `StartError`, `Unknown`. */
  readonly reason?: string;
  readonly message?: string;
  /** After UpdateContainerResources. */
  readonly resources?: ContainerResources;
}

export const newSandboxStatus: SandboxStatus = { version: recordVersion };
export const newContainerStatus: ContainerStatus = { version: recordVersion };
export { recordVersion };

/**
 * A record's extension.
 *
 * @throws data_loss when it is missing, isn't JSON or comes from a newer version.
 */
export function decodeRecord<T extends { readonly version: number }>(
  found: Readonly<Record<string, string>>,
  extension: string,
  id: string,
): T {
  const text = found[extension];
  if (text === undefined) throw new BerthError('data_loss', `record ${id} has no extension ${extension}`);
  let parsed: Partial<T> | null;
  try {
    parsed = JSON.parse(text) as Partial<T> | null;
  } catch (cause) {
    throw new BerthError('data_loss', `record ${id} has an extension ${extension} that isn't JSON`, { cause });
  }
  if (parsed?.version === recordVersion) return parsed as T;
  throw new BerthError(
    'data_loss',
    `record ${id} has an extension ${extension} of version ${parsed?.version}, this program reads ${recordVersion}`,
  );
}
