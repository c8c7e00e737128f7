import { BerthError } from './errors.ts';
import { commonFolder, lowerLayers, withLowerLayers } from './lower-layers.ts';
import { makeFolders, removeFolder } from './native/files.ts';
import { bindIdmapped, close, MNT, umount, userNamespace } from './native/index.ts';
import { hasErrno } from './node-error.ts';

/** `uidmap=` and `gidmap=` of a mount's options: ids on the file system → ids seen through the mount. */
export interface IdMap {
  readonly uids: string;
  readonly gids: string;
}

/**
 * Takes the id map out of a mount's options, as containerd's snapshotters put it there for user namespaces.
 * @throws invalid_argument for one of the two alone, and for one that isn't `container:host:count[,…]`.
 */
export function splitIdMap(options: readonly string[]): { idMap: IdMap | undefined; rest: readonly string[] } {
  const of = (key: string): string | undefined => options.find((option) => option.startsWith(key))?.slice(key.length);
  const uids = of('uidmap=');
  const gids = of('gidmap=');
  if (uids === undefined && gids === undefined) return { idMap: undefined, rest: options };
  if (uids === undefined || gids === undefined) {
    throw new BerthError('invalid_argument', 'a mount has both of uidmap and gidmap, or none');
  }
  const rest = options.filter((option) => !/^[ug]idmap=/.test(option));
  return { idMap: { uids: kernelForm(uids), gids: kernelForm(gids) }, rest };
}

/** user_namespaces(7): lines of `inside outside count`. */
function kernelForm(map: string): string {
  const lines = map.split(',').map((part) => {
    const [, inside, outside, count] = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(part) ?? [];
    if (count === undefined) throw new BerthError('invalid_argument', `id map ${map} is not container:host:count`);
    return `${inside} ${outside} ${count}\n`;
  });
  return lines.join('');
}

/** Puts a mapped copy of the mount that is on `path` over it. */
export function mapMount(path: string, idMap: IdMap): void {
  withNamespace(idMap, (userns) => bindIdmapped(path, path, userns, false));
}

/**
 * Lets `mount` use overlay options whose lower layers are mapped, which overlayfs doesn't do by itself. The mapped view
 * of the layers is mounted beside `root` meanwhile; overlayfs keeps what it needs of it.
 */
export function withMappedLayers(
  options: readonly string[],
  idMap: IdMap,
  root: string,
  mount: (options: readonly string[]) => void,
): void {
  const layers = lowerLayers(options);
  const folder = commonFolder(layers);
  if (folder === '/') throw new BerthError('invalid_argument', 'the layers of an id-mapped overlay share no folder');
  const view = viewBeside(root);
  removeView(root);
  makeFolders(view, 0o700);
  try {
    withNamespace(idMap, (userns) => bindIdmapped(folder, view, userns, true));
    const mapped = layers.map((layer) => `${view}${layer.slice(folder.length)}`);
    mount(withLowerLayers(options, mapped));
  } finally {
    removeView(root);
  }
}

/** Removes what `withMappedLayers` leaves beside `root` when it is killed. Nothing to remove is no error. */
export function removeView(root: string): void {
  const view = viewBeside(root);
  try {
    umount(view, MNT.DETACH | MNT.UMOUNT_NOFOLLOW);
  } catch (error) {
    if (!hasErrno(error, 'EINVAL', 'ENOENT')) throw error;
  }
  removeFolder(view);
}

function viewBeside(root: string): string {
  return `${root}.layers`;
}

function withNamespace(idMap: IdMap, use: (userns: number) => void): void {
  const userns = userNamespace(idMap.uids, idMap.gids);
  try {
    use(userns);
  } finally {
    close(userns);
  }
}
