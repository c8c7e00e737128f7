import * as fs from 'node:fs';
import { BerthError } from '#common/errors.ts';
import type { FsMount } from '#common/mount.ts';
import * as native from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { ActiveMount } from './activation.ts';

/** Turns a mount into another one, given those that are mounted before it. */
export type Transform = (mount: FsMount, active: readonly ActiveMount[]) => FsMount;

/** A mount's type with its prefixes taken off: `format/mkdir/overlay` is an overlay after two transforms. */
export interface TransformedType {
  readonly transforms: readonly Transform[];
  readonly type: string;
}

/**
 * Reads the prefixes of a mount type (containerd docs/mounts.md): `format/` fills in places of earlier mounts, `mkdir/`
 * makes directories first. What else has a slash is left to the client.
 * @param roots directories in which `mkdir/` may make others
 * @throws unimplemented for `mkfs/`
 */
export function transformsOf(type: string, roots: readonly string[]): TransformedType {
  const transforms: Transform[] = [];
  let rest = type;
  for (;;) {
    const slash = rest.indexOf('/');
    const prefix = rest.slice(0, Math.max(0, slash));
    if (prefix === 'mkfs') {
      throw new BerthError(
        'unimplemented',
        `mount type "${type}": file systems aren't made here (mkfs); give one that is`,
      );
    }
    if (prefix === 'format') transforms.push(format);
    else if (prefix === 'mkdir') transforms.push((mount) => makeDirectories(mount, roots));
    else return { transforms, type: rest };
    rest = rest.slice(slash + 1);
  }
}

/** `{{ mount 0 }}`, `{{ source 1 }}`, `{{ target 1 }}` and `{{ overlay 0 2 }}`, the mount points of several with colons. */
const format: Transform = (mount, active) => {
  const fill = (text: string): string =>
    text.replace(/\{\{(.*?)\}\}/g, (_, call: string) => filled(call.trim(), active));
  return { ...mount, source: fill(mount.source), target: fill(mount.target), options: mount.options.map(fill) };
};

function filled(call: string, active: readonly ActiveMount[]): string {
  const [, name, first, last] = /^(mount|source|target|overlay) (\d{1,4})(?: (\d{1,4}))?$/.exec(call) ?? [];
  if (name === undefined || (name === 'overlay') !== (last !== undefined)) {
    throw new BerthError('invalid_argument', `"{{ ${call} }}" is none of mount N, source N, target N and overlay N M`);
  }
  const at = (index: number): ActiveMount => {
    const found = active[index];
    if (found !== undefined) return found;
    const message = `"{{ ${call} }}" names mount ${index}, but ${active.length} are active before it`;
    throw new BerthError('invalid_argument', message);
  };
  const [from, to] = [Number(first), Number(last ?? first)];
  if (name === 'mount') return at(from).mountPoint;
  if (name === 'source' || name === 'target') return at(from).mount[name];
  const step = from > to ? -1 : 1;
  return Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => at(from + i * step).mountPoint).join(':');
}

const mkdirOption = 'X-containerd.mkdir.';

/** Carries out `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]` and takes it off the options. */
function makeDirectories(mount: FsMount, roots: readonly string[]): FsMount {
  const own = mount.options.filter((option) => option.startsWith(mkdirOption));
  for (const option of own) {
    const match = /^path=([^:]+)(?::([0-7]{1,4})(?::(\d{1,10}):(\d{1,10}))?)?$/.exec(option.slice(mkdirOption.length));
    const [, path = '', mode = '700', uid = '0', gid = '0'] = match ?? [];
    if (match === null)
      throw new BerthError('invalid_argument', `mount option "${option}": want path=PATH[:MODE[:UID:GID]]`);
    makeDirectory(path, Number.parseInt(mode, 8), Number(uid), Number(gid), roots);
  }
  return { ...mount, options: mount.options.filter((option) => !option.startsWith(mkdirOption)) };
}

/** One that is there already stays as it is. No symlink on the way leads out of the root. */
function makeDirectory(path: string, mode: number, uid: number, gid: number, roots: readonly string[]): void {
  const root = roots.find((candidate) => path.startsWith(`${candidate}/`));
  if (root === undefined) {
    const message = `directory ${path} is not made: it lies in none of ${roots.join(', ')}`;
    throw new BerthError('unimplemented', message);
  }
  const parts = path
    .slice(root.length + 1)
    .split('/')
    .filter((part) => part !== '');
  const name = parts.pop();
  if (name === undefined || name === '.' || name === '..') return;
  const { O, RESOLVE } = native;
  const rootFd = native.open(root, O.PATH | O.DIRECTORY, 0);
  let parentFd: number | undefined;
  try {
    parentFd = native.openat2(rootFd, parts.join('/') || '.', O.PATH | O.DIRECTORY, 0, RESOLVE.BENEATH);
    const made = `/proc/self/fd/${parentFd}/${name}`;
    fs.mkdirSync(made, { mode });
    fs.chownSync(made, uid, gid);
    fs.chmodSync(made, mode);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw BerthError.from(error, `make directory ${path}`);
  } finally {
    if (parentFd !== undefined) native.close(parentFd);
    native.close(rootFd);
  }
}
