import { BerthError, messageOf } from '#common/errors.ts';
import { isThere, makeFolders, readTextIfThere, removeFile, removeFolder, writeText } from '#common/native/files.ts';
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
 * On failure criu's own log stays in the bundle, and the message names it.
 */
export async function checkpoint(
  runc: Runc,
  id: string,
  bundle: Bundle,
  path: string,
  given: Any | null,
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
  try {
    await runc.checkpoint(id, [
      ...['--image-path', path, '--work-path', work],
      ...(options.parentPath === '' ? [] : ['--parent-path', options.parentPath]),
      ...(options.openTcp ? ['--tcp-established'] : []),
      ...(options.externalUnixSockets ? ['--ext-unix-sk'] : []),
      ...(options.terminal ? ['--shell-job'] : []),
      ...(options.fileLocks ? ['--file-locks'] : []),
      ...(options.cgroupsMode === '' ? [] : ['--manage-cgroups-mode', options.cgroupsMode]),
      ...options.emptyNamespaces.flatMap((namespace) => ['--empty-ns', namespace]),
      ...(options.exit ? [] : ['--leave-running']),
    ]);
  } catch (error) {
    const log = readTextIfThere(`${work}/dump.log`);
    if (log === undefined) throw error;
    const kept = `${bundle.path}/criu-dump.log`;
    writeText(kept, log);
    throw new BerthError('unknown', `${messageOf(error)}: see ${kept}`, { cause: error });
  } finally {
    if (options.workPath === '') clear(work);
  }
}

/** criu's working folder has files only. */
function clear(folder: string): void {
  for (const name of names(folder)) removeFile(`${folder}/${name}`);
  removeFolder(folder);
}
