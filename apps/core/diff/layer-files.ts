import * as fs from 'node:fs';
import * as native from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, fsPath } from '../unpack/byte-path.ts';
import { isOverlayXattr } from '../unpack/file-attributes.ts';

/** Extended attributes of a file, sorted by name. */
export interface FileXattrs {
  /** Those that a layer carries. */
  readonly carried: readonly (readonly [string, Buffer])[];
  /** Overlayfs' own notes, by what they are called behind `trusted.overlay.` or `user.overlay.`. */
  readonly overlay: ReadonlyMap<string, string>;
}

/**
 * What belongs to a file wherever it is: the rest of `security.*` is this host's (labels of SELinux, hashes of IMA), and
 * `trusted.*` can't be set by everyone who unpacks.
 */
const CARRIED = /^(user\.|security\.capability$|system\.posix_acl_(access|default)$)/;

/** What is gone by now is undefined: a tree may be in use. */
export function statOf(path: string): fs.BigIntStats | undefined {
  try {
    return fs.lstatSync(fsPath(path), { bigint: true });
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * Names in a directory, as byte strings in the order of their bytes. A name that would be a whiteout in a layer is left
 * out: no layer can hold such a file, and it must not make another one disappear.
 */
export function namesIn(path: string): string[] {
  const names = fs.readdirSync(fsPath(path), { encoding: 'buffer' }).map(byteString);
  return names.filter((name) => !name.startsWith('.wh.')).sort();
}

export function xattrsOf(path: string): FileXattrs {
  const name = fsPath(path);
  const carried: [string, Buffer][] = [];
  const overlay = new Map<string, string>();
  for (const key of listXattrs(name).sort()) {
    const own = isOverlayXattr(key);
    if (!own && !CARRIED.test(key)) continue;
    const value = native.lgetxattr(name, key);
    if (value === null) continue;
    if (own) overlay.set(key.slice(key.indexOf('.overlay.') + '.overlay.'.length), value.toString('latin1'));
    else carried.push([key, value]);
  }
  return { carried, overlay };
}

function listXattrs(path: string | Buffer): string[] {
  try {
    return native.llistxattr(path);
  } catch (error) {
    if (hasErrno(error, 'EOPNOTSUPP', 'ENOTSUP', 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
