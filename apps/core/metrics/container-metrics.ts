import { type Any, typeUrls } from '#common/typeurl.ts';
import { encode } from '#common/wire/codec.ts';
import { cgroupFoldersOf } from './cgroup-folders.ts';
import { readV1 } from './cgroup-v1.ts';
import { readV2 } from './cgroup-v2.ts';

/**
 * What the cgroup of a container has used up to now, read from cgroupfs, as the type that the host's version has.
 * @param pid of the container's init process
 * @throws not_found when that has ended.
 */
export async function containerMetrics(pid: number): Promise<Any> {
  const cgroup = await cgroupFoldersOf(pid);
  return cgroup.version === 1
    ? {
        type_url: typeUrls.cgroups1Metrics,
        value: encode('io.containerd.cgroups.v1.Metrics', await readV1(cgroup.folders)),
      }
    : {
        type_url: typeUrls.cgroups2Metrics,
        value: encode('io.containerd.cgroups.v2.Metrics', await readV2(cgroup.folder)),
      };
}
