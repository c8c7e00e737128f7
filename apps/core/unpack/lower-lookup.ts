import { type BigIntStats, constants } from 'node:fs';
import { copyFile, lstat, readlink } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import * as native from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { byteString, components, displayPath, fsPath } from './byte-path.ts';
import { deviceNumber } from './device-number.ts';
import { isWhiteout } from './directory-tree.ts';
import { isOverlayXattr } from './file-attributes.ts';
import { COPY_PATH, type LowerEntry, NO_LOWER } from './lower.ts';

/** What the layers below show, and where. */
interface Found {
  readonly entry: LowerEntry;
  /** Byte string. */
  readonly path: string;
}

/**
 * Answers what the committed layers below show at `path`, for the writer, which sees its own layer only. The path's
 * parents must be directories there: each component was asked for before the next, so no symlink is followed here.
 * @param lowers their directories, the nearest first
 */
export async function lookupLower(lowers: readonly string[], path: string): Promise<LowerEntry> {
  return (await find(lowers, path)).entry;
}

/**
 * Copies the data of a file of the layers below to its place in the layer that is written, for a hard link to it. What
 * lies in that place already is not touched, nor followed. Answers the file.
 * @throws not_found when there is no file at `path`; already_exists
 */
export async function copyLower(lowers: readonly string[], path: string, root: string): Promise<LowerEntry> {
  const found = await find(lowers, path);
  if (found.entry.kind !== 'file') {
    throw new BerthError('not_found', `the layers below have no file ${displayPath(path)}`);
  }
  const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;
  await copyFile(fsPath(found.path), fsPath(byteString(root) + COPY_PATH), COPYFILE_EXCL | COPYFILE_FICLONE);
  return found.entry;
}

async function find(lowers: readonly string[], path: string): Promise<Found> {
  for (const lower of lowers) {
    const found = await findIn(lower, path);
    if (found !== undefined) return found;
  }
  return { entry: NO_LOWER, path };
}

/** Undefined means that the next layer below is to be asked. */
async function findIn(lower: string, path: string): Promise<Found | undefined> {
  const parts = components(path);
  let at = byteString(lower);
  for (const [index, part] of parts.entries()) {
    const parent = at;
    at = `${at}/${part}`;
    const stat = await lstatOf(at);
    if (stat === undefined) return isOpaque(parent) ? { entry: NO_LOWER, path } : undefined;
    if (index === parts.length - 1) return { entry: await entryAt(at, stat), path: at };
    if (!stat.isDirectory()) return { entry: NO_LOWER, path };
  }
  return undefined;
}

async function entryAt(path: string, stat: BigIntStats): Promise<LowerEntry> {
  if (isWhiteout(stat)) return NO_LOWER;
  const name = fsPath(path);
  const xattrs = native
    .llistxattr(name)
    .filter((key) => !isOverlayXattr(key))
    .map((key) => [key, (native.lgetxattr(name, key) ?? Buffer.alloc(0)).toString('base64')] as const);
  const attributes = {
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: stat.mtimeNs.toString(),
    xattrs,
  };
  if (stat.isDirectory()) return { kind: 'directory', ...attributes };
  if (stat.isFile()) return { kind: 'file', ...attributes };
  if (stat.isFIFO()) return { kind: 'fifo', ...attributes };
  if (stat.isSymbolicLink()) {
    return { kind: 'symlink', target: byteString(await readlink(name, { encoding: 'buffer' })), ...attributes };
  }
  if (!stat.isCharacterDevice() && !stat.isBlockDevice()) return { kind: 'other' };
  return { kind: stat.isBlockDevice() ? 'block' : 'char', ...deviceNumber(stat), ...attributes };
}

function isOpaque(path: string): boolean {
  const name = fsPath(path);
  return ['trusted', 'user'].some((space) => native.lgetxattr(name, `${space}.overlay.opaque`)?.toString() === 'y');
}

async function lstatOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(fsPath(path), { bigint: true });
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
