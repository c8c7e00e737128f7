import { BerthError, messageOf } from '#common/errors.ts';
import {
  isThere,
  kindOf,
  makeFolders,
  readTextIfThere,
  removeFile,
  removeFolder,
  writeText,
} from '#common/native/files.ts';
import { names } from '#common/native/index.ts';
import { type Any, sameType } from '#common/typeurl.ts';
import { decode } from '#common/wire/codec.ts';
import type { Bundle, SavedRuntime } from './bundle.ts';
import type { Runc } from './runc.ts';

const optionsType = 'containerd.runc.v1.CheckpointOptions';

/** Throws `failed_precondition` without the program that OCI runtimes leave the work to. */
export function requireCriu({ criu }: SavedRuntime): void {
  const candidates = criu.includes('/')
    ? [criu]
    : (process.env.PATH ?? '').split(':').map((folder) => `${folder}/${criu}`);
  if (candidates.some(isThere)) return;
  throw new BerthError('failed_precondition', `checkpoint and restore need ${criu}, which isn't installed`);
}

/**
 * Saves a container's processes into the folder `path`. Unless the options say so, the container goes on.
 * `pids` are all of its processes. On failure criu's own log stays in the bundle, and the message names it.
 */
export async function checkpoint(
  runc: Runc,
  id: string,
  bundle: Bundle,
  path: string,
  given: Any | null,
  pids: readonly number[],
): Promise<void> {
  if (path === '') throw new BerthError('invalid_argument', `checkpoint of ${id}: the folder for it isn't named`);
  if (given !== null && given.type_url !== '' && !sameType(given.type_url, optionsType)) {
    throw new BerthError(
      'invalid_argument',
      `checkpoint options of type ${given.type_url}: this shim takes ${optionsType}`,
    );
  }
  const options = decode(optionsType, given?.value ?? new Uint8Array());
  const work = options.workPath || `${bundle.path}/criu-work`;
  makeFolders(work, 0o700);
  const config = `${bundle.path}/criu.conf`;
  writeText(config, pids.flatMap(outsideFifos).join(''));
  try {
    const args = [
      ...['--image-path', path, '--work-path', work],
      ...(options.parentPath === '' ? [] : ['--parent-path', options.parentPath]),
      ...(options.openTcp ? ['--tcp-established'] : []),
      ...(options.externalUnixSockets ? ['--ext-unix-sk'] : []),
      ...(options.terminal ? ['--shell-job'] : []),
      ...(options.fileLocks ? ['--file-locks'] : []),
      ...(options.cgroupsMode === '' ? [] : ['--manage-cgroups-mode', options.cgroupsMode]),
      ...options.emptyNamespaces.flatMap((namespace) => ['--empty-ns', namespace]),
      ...(options.exit ? [] : ['--leave-running']),
    ];
    await runc.checkpoint(id, args, config);
  } catch (error) {
    const log = readTextIfThere(`${work}/dump.log`);
    if (log === undefined) throw error;
    const kept = `${bundle.path}/criu-dump.log`;
    writeText(kept, log);
    throw new BerthError('unknown', `${messageOf(error)}: see ${kept}`, { cause: error });
  } finally {
    removeFile(config);
    if (options.workPath === '') clear(work);
  }
}

/**
 * Lines of criu's configuration for the FIFOs that a process has as its stdio: they lie outside of the container's mounts,
 * where criu would look for them (criu(8), `--external file[mnt_id:inode]`, in hexadecimal).
 */
function outsideFifos(pid: number): string[] {
  return [0, 1, 2].flatMap((fd) => {
    const info = readTextIfThere(`/proc/${pid}/fdinfo/${fd}`) ?? '';
    const [mount, inode] = [/^mnt_id:\s*(\d+)/m, /^ino:\s*(\d+)/m].map((field) => field.exec(info)?.[1]);
    if (mount === undefined || inode === undefined || kindOf(`/proc/${pid}/fd/${fd}`) !== 'fifo') return [];
    return [`external file[${Number(mount).toString(16)}:${BigInt(inode).toString(16)}]\n`];
  });
}

/** criu's working folder has files only. */
function clear(folder: string): void {
  for (const name of names(folder)) removeFile(`${folder}/${name}`);
  removeFolder(folder);
}
