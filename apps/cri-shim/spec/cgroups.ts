import { basename, posix } from 'node:path';
import { BerthError } from '#common/errors.ts';

export type CgroupDriver = 'systemd' | 'cgroupfs';

/** Where a container's cgroup goes, in the form that `driver` asks of the OCI runtime. */
export interface CgroupPlacement {
  readonly cgroupsPath: string;
  readonly driver: CgroupDriver;
}

/**
 * The cgroup of a container: below its pod's, named after the container. The form of the parent tells the driver: the
 * kubelet's systemd driver names slices. Without a parent the container stands at the top, and nothing but its own
 * cgroup is made.
 *
 * @throws invalid_argument for a parent that isn't a clean absolute path; failed_precondition for a slice on a host
 * without systemd.
 */
export function cgroupPlacement(parent: string, id: string, systemd: boolean): CgroupPlacement {
  if (parent === '') return { cgroupsPath: `/berth-${id}`, driver: 'cgroupfs' };
  if (parent.split('/').includes('..') || /[\0\n]/.test(parent)) {
    throw new BerthError('invalid_argument', `cgroup parent ${JSON.stringify(parent)} may not contain ".."`);
  }
  if (parent.endsWith('.slice')) {
    if (!systemd) {
      throw new BerthError(
        'failed_precondition',
        `cgroup parent "${parent}" is a systemd slice, but this host isn't run by systemd: ` +
          'set cgroupDriver: cgroupfs in the kubelet configuration',
      );
    }
    return { cgroupsPath: `${basename(parent)}:cri-containerd:${id}`, driver: 'systemd' };
  }
  return { cgroupsPath: posix.join('/', parent, id), driver: 'cgroupfs' };
}
