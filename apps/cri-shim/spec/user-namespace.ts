import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { IdMapping } from '#common/oci/runtime-spec.ts';
import type { NamespaceOption, PodConfig } from '../cri-types.ts';

/** Ids of a user namespace, in the runtime spec's form. */
export interface IdMap {
  readonly uidMappings: IdMapping[];
  readonly gidMappings: IdMapping[];
}

interface CriMapping {
  readonly hostId: number;
  readonly containerId: number;
  readonly length: number;
}

/** Ids are 32 bits wide; the highest means "none" (chown(2)). */
const noId = 0xffff_ffff;

/**
 * The ids of a pod's user namespace; undefined for a pod that shares the node's.
 *
 * @throws invalid_argument for a mode that pods don't have, malformed mappings, or namespaces of the host that a pod with
 * users of its own can't share.
 */
export function podIdMap(config: PodConfig): IdMap | undefined {
  const options = config.linux?.securityContext?.namespaceOptions;
  const users = options?.usernsOptions;
  if (options == null || users == null || users.mode === 'NODE') return undefined;
  if (users.mode !== 'POD') {
    throw new BerthError('invalid_argument', `userns_options.mode ${users.mode}: a pod takes POD or NODE`);
  }
  for (const kind of ['network', 'pid', 'ipc'] as const) {
    if (options[kind] !== 'NODE') continue;
    throw new BerthError('invalid_argument', `a pod in a user namespace can't share the host's ${kind} namespace`);
  }
  return idMap({ uidMappings: users.uids, gidMappings: users.gids }, 'userns_options');
}

/**
 * Checks that a container asks for the user namespace that its pod has, or for none.
 *
 * @throws invalid_argument
 */
export function checkContainerUsers(options: NamespaceOption | null, pod: IdMap | undefined): void {
  const users = options?.usernsOptions;
  if (users == null) return;
  if (users.mode === 'NODE' && pod === undefined) return;
  const matches =
    users.mode === 'POD' &&
    pod !== undefined &&
    JSON.stringify(idMap({ uidMappings: users.uids, gidMappings: users.gids }, 'userns_options')) ===
      JSON.stringify(pod);
  if (matches) return;
  throw new BerthError('invalid_argument', 'userns_options of the container are not those of its pod');
}

/** @throws invalid_argument, naming `what` */
export function idMap(
  { uidMappings, gidMappings }: { uidMappings: readonly CriMapping[]; gidMappings: readonly CriMapping[] },
  what: string,
): IdMap {
  const map = {
    uidMappings: [mapping(uidMappings, `${what}: uids`)],
    gidMappings: [mapping(gidMappings, `${what}: gids`)],
  };
  if (JSON.stringify(map.uidMappings) === JSON.stringify(map.gidMappings)) return map;
  throw new BerthError('invalid_argument', `${what}: uids and gids must be mapped alike`);
}

/** Labels by which a snapshot's files belong to the pod's users. */
export function snapshotMapping(map: IdMap | undefined): Record<string, string> {
  if (map === undefined) return {};
  const text = ({ containerID, hostID, size }: IdMapping) => `${containerID}:${hostID}:${size}`;
  return {
    [labelKeys.snapshotUidMapping]: map.uidMappings.map(text).join(','),
    [labelKeys.snapshotGidMapping]: map.gidMappings.map(text).join(','),
  };
}

function mapping(mappings: readonly CriMapping[], what: string): IdMapping {
  const [only] = mappings;
  if (only === undefined || mappings.length > 1) {
    throw new BerthError('invalid_argument', `${what}: one mapping is needed, ${mappings.length} are given`);
  }
  const { containerId, hostId, length } = only;
  if (containerId !== 0 || length === 0 || hostId + length > noId) {
    throw new BerthError(
      'invalid_argument',
      `${what}: ${containerId}:${hostId}:${length} must map ids from 0 on, below 2^32`,
    );
  }
  return { containerID: containerId, hostID: hostId, size: length };
}
