import type { Stats } from 'node:fs';
import { lstat, readlink } from 'node:fs/promises';
import * as native from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, components, fsPath } from './byte-path.ts';
import { isWhiteout } from './directory-tree.ts';
import { isOverlayXattr } from './file-attributes.ts';
import { type LowerDirectory, type LowerEntry, NO_LOWER } from './lower.ts';

/**
 * Answers what the committed layers below show at `path`, for the writer, which sees its own layer only. The path's
 * parents must be directories there: each component was asked for before the next, so no symlink is followed here.
 */
export async function lookupLower(lowers: readonly string[], path: string): Promise<LowerEntry> {
  for (const lower of lowers) {
    const found = await lookupLayer(lower, path);
    if (found !== undefined) return found;
  }
  return NO_LOWER;
}

/** Undefined means that the next layer below is to be asked. */
async function lookupLayer(lower: string, path: string): Promise<LowerEntry | undefined> {
  const parts = components(path);
  let at = byteString(lower);
  for (const [index, part] of parts.entries()) {
    const parent = at;
    at = `${at}/${part}`;
    const stat = await lstatOf(at);
    if (stat === undefined) return isOpaque(parent) ? NO_LOWER : undefined;
    if (isWhiteout(stat)) return NO_LOWER;
    const last = index === parts.length - 1;
    if (last && stat.isSymbolicLink()) {
      return { kind: 'symlink', target: byteString(await readlink(fsPath(at), { encoding: 'buffer' })) };
    }
    if (!stat.isDirectory()) return { kind: 'other' };
    if (last) return attributes(at);
  }
  return undefined;
}

async function attributes(path: string): Promise<LowerDirectory> {
  const stat = await lstat(fsPath(path), { bigint: true });
  const text = fsPath(path).toString();
  const xattrs = native
    .llistxattr(text)
    .filter((name) => !isOverlayXattr(name))
    .map((name) => [name, (native.lgetxattr(text, name) ?? Buffer.alloc(0)).toString('base64')] as const);
  return {
    kind: 'directory',
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: stat.mtimeNs.toString(),
    xattrs,
  };
}

function isOpaque(path: string): boolean {
  const text = fsPath(path).toString();
  return ['trusted', 'user'].some((space) => native.lgetxattr(text, `${space}.overlay.opaque`)?.toString() === 'y');
}

async function lstatOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(fsPath(path));
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
