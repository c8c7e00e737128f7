import { realpath } from 'node:fs/promises';
import { isAbsolute, posix } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { makeDirectories } from '#common/make-directories.ts';
import { hasErrno } from '#common/node-error.ts';
import type { SpecMount } from '#common/oci/runtime-spec.ts';
import type { CriMount } from '../cri-types.ts';
import type { RuntimeFeatures } from '../runtime-features.ts';
import { relabel } from '../selinux/relabel.ts';
import { type MountInfo, mountOf, readMountInfo } from './mountinfo.ts';
import { type IdMap, idMap } from './user-namespace.ts';

/** A bind mount that the runtime adds for the pod: /etc/hosts and its like. */
export interface PodMount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  /** Only the pod's containers use it. */
  readonly selinuxRelabel: boolean;
}

/** What every container sees unless its pod mounts something else there. */
export function defaultMounts(): SpecMount[] {
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
  ];
}

/** The cgroup file system of a container, read-only unless it is privileged. */
export function cgroupMount(writable: boolean): SpecMount {
  return {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: ['nosuid', 'noexec', 'nodev', 'relatime', writable ? 'rw' : 'ro'],
  };
}

export interface MountSupport {
  readonly features: RuntimeFeatures;
  /** The pod's ids, when it has a user namespace of its own. */
  readonly userNamespace?: IdMap | undefined;
  /** SELinux label of the container's files. */
  readonly mountLabel?: string | undefined;
}

export interface MountResult {
  readonly mounts: SpecMount[];
  /** What the container's root must be for a mount to propagate. */
  readonly rootfsPropagation?: 'rshared' | 'rslave';
}

/**
 * All mounts of a container: the pod's own replace the runtime's at the same path, and one of /dev replaces all below
 * it. Parents come before what lies in them. A host path that doesn't exist becomes a directory.
 *
 * @throws invalid_argument for a bad path or option; failed_precondition when the host's mount can't propagate as asked.
 */
export async function containerMounts(
  base: readonly SpecMount[],
  own: readonly CriMount[],
  extra: readonly PodMount[],
  { features, userNamespace, mountLabel }: MountSupport,
  hostMounts: () => readonly MountInfo[] = readMountInfo,
): Promise<MountResult> {
  const ownPaths = new Set(own.map(({ containerPath }) => cleanPath(containerPath)));
  const binds: (CriMount | PodMount)[] = [
    ...own,
    ...extra.filter(({ containerPath }) => !ownPaths.has(cleanPath(containerPath))),
  ];
  binds.sort((a, b) => depth(a.containerPath) - depth(b.containerPath));

  const taken = new Set(binds.map(({ containerPath }) => cleanPath(containerPath)));
  const mounts = base.filter(({ destination }) => {
    return !taken.has(destination) && !(taken.has('/dev') && destination.startsWith('/dev/'));
  });
  let rootfsPropagation: MountResult['rootfsPropagation'];
  for (const bind of binds) {
    const source = await hostSource(bind.hostPath);
    if (bind.selinuxRelabel && mountLabel !== undefined) await relabel(source, mountLabel);
    const propagation = 'propagation' in bind ? bind.propagation : 'PROPAGATION_PRIVATE';
    const options = ['rbind', propagationOption(source, propagation, hostMounts), ...accessOptions(bind, features)];
    if (propagation === 'PROPAGATION_BIDIRECTIONAL') rootfsPropagation = 'rshared';
    if (propagation === 'PROPAGATION_HOST_TO_CONTAINER') rootfsPropagation ??= 'rslave';
    const mapping = mountMapping(bind, userNamespace);
    mounts.push({ destination: bind.containerPath, type: 'bind', source, options, ...mapping });
  }
  return rootfsPropagation === undefined ? { mounts } : { mounts, rootfsPropagation };
}

function accessOptions(bind: CriMount | PodMount, features: RuntimeFeatures): string[] {
  const refuse = (why: string) => new BerthError('invalid_argument', `mount ${bind.containerPath}: ${why}`);
  if (!('recursiveReadOnly' in bind && bind.recursiveReadOnly)) return [bind.readonly ? 'ro' : 'rw'];
  // The rules of CRI's Mount.recursive_read_only.
  if (!bind.readonly) throw refuse('recursive_read_only needs readonly');
  if (bind.propagation !== 'PROPAGATION_PRIVATE') throw refuse('recursive_read_only needs private propagation');
  if (!features.recursiveReadOnly) throw refuse("the runtime handler doesn't support recursive read-only mounts");
  return ['rro'];
}

/** The ids that a mount shows, as the pod asks for them; the pod's own files belong to its root as they are. */
function mountMapping(bind: CriMount | PodMount, userNamespace: IdMap | undefined): Partial<IdMap> {
  if (!('uidMappings' in bind)) return {};
  if (bind.uidMappings.length + bind.gidMappings.length === 0) return {};
  if (userNamespace !== undefined) return { ...idMap(bind, `mount ${bind.containerPath}`) };
  throw new BerthError(
    'invalid_argument',
    `mount ${bind.containerPath}: uid_mappings and gid_mappings need a pod with a user namespace of its own`,
  );
}

async function hostSource(hostPath: string): Promise<string> {
  if (!isAbsolute(hostPath)) {
    throw new BerthError('invalid_argument', `mount source ${JSON.stringify(hostPath)} must be an absolute path`);
  }
  try {
    return await realpath(hostPath);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, `mount source "${hostPath}"`);
  }
  try {
    makeDirectories(hostPath, 0o755);
    return await realpath(hostPath);
  } catch (error) {
    throw BerthError.from(error, `create mount source "${hostPath}"`);
  }
}

function propagationOption(source: string, propagation: string, hostMounts: () => readonly MountInfo[]): string {
  if (propagation === 'PROPAGATION_PRIVATE') return 'rprivate';
  const mount = mountOf(source, hostMounts());
  const shared = mount?.optional.some((field) => field.startsWith('shared:')) ?? false;
  const slave = mount?.optional.some((field) => field.startsWith('master:')) ?? false;
  const bidirectional = propagation === 'PROPAGATION_BIDIRECTIONAL';
  if (shared || (slave && !bidirectional)) return bidirectional ? 'rshared' : 'rslave';
  throw new BerthError(
    'failed_precondition',
    `mount source "${source}" lies on "${mount?.mountpoint ?? '/'}", which is not a ` +
      `${bidirectional ? 'shared' : 'shared or slave'} mount: run "mount --make-rshared ${mount?.mountpoint ?? '/'}"`,
  );
}

function cleanPath(path: string): string {
  const clean = posix.normalize(path);
  if (!isAbsolute(clean)) {
    throw new BerthError('invalid_argument', `mount target ${JSON.stringify(path)} must be an absolute path`);
  }
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

function depth(path: string): number {
  return cleanPath(path).split('/').length;
}
