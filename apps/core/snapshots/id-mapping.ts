import { BerthError } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';

/** Which ids of the host a snapshot's files are to belong to, as labels say it. */
export interface IdMapping {
  /** As the label has it: `container:host:size`, more of them after commas. */
  readonly uids: string;
  readonly gids: string;
  /** Whom of the host the container's root is. */
  readonly root: { readonly uid: number; readonly gid: number };
}

/** Ids are 32 bits wide; the highest means "none" (chown(2)). */
const noId = 0xffffffff;

/**
 * The mapping that the labels `containerd.io/snapshot/uidmapping` and `gidmapping` give; undefined without both. One
 * alone maps its own kind of ids, and the other kind to itself.
 * @throws invalid_argument for a malformed mapping, or one that has no place for root.
 */
export function idMappingOf(labels: Labels): IdMapping | undefined {
  const uids = labels[labelKeys.snapshotUidMapping] ?? '';
  const gids = labels[labelKeys.snapshotGidMapping] ?? '';
  if (uids === '' && gids === '') return undefined;
  return { uids, gids, root: { uid: rootOf(uids), gid: rootOf(gids) } };
}

function rootOf(mapping: string): number {
  if (mapping === '') return 0;
  for (const part of mapping.split(',')) {
    const [, container, host, size] = /^(\d+):(\d+):(\d+)$/.exec(part)?.map(Number) ?? [];
    if (
      container === undefined ||
      host === undefined ||
      size === undefined ||
      Math.max(container, host, size) >= noId
    ) {
      throw new BerthError('invalid_argument', `invalid id mapping "${part}": want container:host:size`);
    }
    if (container === 0 && size > 0) return host;
  }
  throw new BerthError('invalid_argument', `id mapping "${mapping}" has no place for the container's root`);
}
