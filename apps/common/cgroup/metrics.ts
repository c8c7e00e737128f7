import { BerthError } from '../errors.ts';
import { hasErrno } from '../node-error.ts';
import { type Any, typeUrls } from '../typeurl.ts';
import { encode } from '../wire/codec.ts';
import { figuresV1 } from './figures-v1.ts';
import { figuresV2 } from './figures-v2.ts';
import type { CgroupFolders } from './folders.ts';

/**
 * What a container's cgroup has used up to now, read from cgroupfs, as the type that its version has.
 * @throws not_found when there is no such cgroup, or no more.
 */
export function metricsOf(cgroup: CgroupFolders | undefined): Any {
  if (cgroup === undefined) throw new BerthError('not_found', 'the container is gone or has no cgroup of its own');
  try {
    return encoded(cgroup);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT', 'ENODEV')) throw error;
    throw new BerthError('not_found', "the container's cgroup is gone", { cause: error });
  }
}

function encoded(cgroup: CgroupFolders): Any {
  return cgroup.version === 1
    ? {
        type_url: typeUrls.cgroups1Metrics,
        value: encode('io.containerd.cgroups.v1.Metrics', figuresV1(cgroup.folders)),
      }
    : {
        type_url: typeUrls.cgroups2Metrics,
        value: encode('io.containerd.cgroups.v2.Metrics', figuresV2(cgroup.folder)),
      };
}
