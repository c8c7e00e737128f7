import { BerthError } from './errors.ts';
import { commonFolder, lowerLayers, withLowerLayers } from './lower-layers.ts';
import { mapMount, splitIdMap, withMappedLayers } from './mount-idmapped.ts';
import { close, loopAttach, MS, mount } from './native/index.ts';

/** One mount as it travels in containerd's API (`containerd.types.Mount`). */
export interface FsMount {
  readonly type: string;
  readonly source: string;
  /** Relative to the root of the mounts; empty for the root itself. */
  readonly target: string;
  readonly options: readonly string[];
}

/** Options of fstab(5) that are flags: what to set, or to clear. All others are the file system's own data. */
const flags: Readonly<Record<string, { set?: number; clear?: number }>> = {
  ro: { set: MS.RDONLY },
  rw: { clear: MS.RDONLY },
  nosuid: { set: MS.NOSUID },
  suid: { clear: MS.NOSUID },
  nodev: { set: MS.NODEV },
  dev: { clear: MS.NODEV },
  noexec: { set: MS.NOEXEC },
  exec: { clear: MS.NOEXEC },
  sync: { set: MS.SYNCHRONOUS },
  async: { clear: MS.SYNCHRONOUS },
  dirsync: { set: MS.DIRSYNC },
  remount: { set: MS.REMOUNT },
  mand: { set: MS.MANDLOCK },
  nomand: { clear: MS.MANDLOCK },
  noatime: { set: MS.NOATIME },
  atime: { clear: MS.NOATIME },
  nodiratime: { set: MS.NODIRATIME },
  diratime: { clear: MS.NODIRATIME },
  relatime: { set: MS.RELATIME },
  norelatime: { clear: MS.RELATIME },
  strictatime: { set: MS.STRICTATIME },
  nostrictatime: { clear: MS.STRICTATIME },
  bind: { set: MS.BIND },
  rbind: { set: MS.BIND | MS.REC },
  defaults: {},
};

const propagation: Readonly<Record<string, number>> = {
  private: MS.PRIVATE,
  rprivate: MS.PRIVATE | MS.REC,
  shared: MS.SHARED,
  rshared: MS.SHARED | MS.REC,
  slave: MS.SLAVE,
  rslave: MS.SLAVE | MS.REC,
  unbindable: MS.UNBINDABLE,
  runbindable: MS.UNBINDABLE | MS.REC,
};

/** mount(2) takes one page of data; a bit less, for the final NUL and the kernel's own additions. */
const maxData = 4096 - 256;

export interface MountCall {
  readonly flags: number;
  readonly propagation: number;
  readonly data: string;
  /** Where relative paths in `data` start. */
  readonly cwd: string | null;
}

/** Options → arguments of mount(2). Overlay data that would be too long gets paths relative to their common folder. */
export function parseOptions(fstype: string, options: readonly string[]): MountCall {
  let set = 0;
  let kind = 0;
  const data: string[] = [];
  for (const option of options) {
    const flag = flags[option];
    if (flag !== undefined) set = (set | (flag.set ?? 0)) & ~(flag.clear ?? 0);
    else if (propagation[option] !== undefined) kind |= propagation[option];
    else if (option !== '' && !option.startsWith('X-containerd.')) data.push(option);
  }
  const text = data.join(',');
  if (fstype === 'overlay' && text.length > maxData) return { flags: set, propagation: kind, ...shorten(data) };
  return { flags: set, propagation: kind, data: text, cwd: null };
}

function shorten(options: readonly string[]): { data: string; cwd: string } {
  const layers = lowerLayers(options);
  const cwd = commonFolder(layers);
  const short = (path: string): string => (path.startsWith(`${cwd}/`) ? path.slice(cwd.length + 1) : path);
  const data = withLowerLayers(options, layers.map(short)).join(',');
  if (data.length > 4095) {
    throw new BerthError('failed_precondition', `an overlay of ${layers.length} layers is too long for one mount`);
  }
  return { data, cwd };
}

/**
 * Makes one mount on `root`, or below it where it has a target; with `uidmap=` and `gidmap=` an id-mapped one.
 * @throws BerthError `invalid_argument` for one outside, and for maps that are none
 */
export function mountOn({ type, source, target, options }: FsMount, root: string): void {
  const path = target === '' || target === '/' ? root : `${root}/${target}`;
  if (target.split('/').includes('..')) {
    throw new BerthError('invalid_argument', `mount target ${target} leaves the root file system`);
  }
  const { idMap, rest } = splitIdMap(options);
  if (idMap === undefined) mountAt(path, type, source, rest);
  else if (type === 'overlay') withMappedLayers(rest, idMap, root, (mapped) => mountAt(path, type, source, mapped));
  else mountAt(path, type, source, rest, () => mapMount(path, idMap));
}

/** `mounted` is called before the mount gets its last flags. */
function mountAt(path: string, type: string, source: string, options: readonly string[], mounted?: () => void): void {
  const loop = options.includes('loop');
  const call = parseOptions(type, loop ? options.filter((option) => option !== 'loop') : options);
  const bind = (call.flags & MS.BIND) !== 0;
  if (bind) mount(source, path, null, call.flags & (MS.BIND | MS.REC), null);
  else if (loop) mountFile(path, type, source, call);
  else mount(source, path, type, call.flags, call.data === '' ? null : call.data, call.cwd);
  mounted?.();
  // Other flags of a bind mount take effect with a remount only (mount(2), "Creating a bind mount").
  const rest = call.flags & ~MS.REC;
  if (bind && rest !== MS.BIND) mount(null, path, null, rest | MS.REMOUNT, null);
  if (call.propagation !== 0) mount(null, path, null, call.propagation, null);
}

/** Mounts the file system in a file, by a loop device that goes with the mount. */
function mountFile(path: string, type: string, file: string, { flags, data }: MountCall): void {
  const [fd, device] = loopAttach(file, (flags & MS.RDONLY) !== 0);
  try {
    mount(device, path, type, flags, data === '' ? null : data);
  } finally {
    // From here on the mount holds the device.
    close(fd);
  }
}
