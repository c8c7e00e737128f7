import { BerthError } from '#common/errors.ts';
import type { EnvironmentVariable } from '../cri-types.ts';
import type { ImageProcess } from './image-process.ts';

/** The search path of a container whose image and pod name none. */
export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The command line: `command` replaces the image's entrypoint and drops its arguments too; `args` alone replaces the
 * image's arguments.
 *
 * @throws invalid_argument when nothing is left to run.
 */
export function commandLine(
  config: { readonly command: readonly string[]; readonly args: readonly string[] },
  image: Pick<ImageProcess, 'entrypoint' | 'cmd'>,
): string[] {
  if (config.command.length > 0) return [...config.command, ...config.args];
  const entrypoint = image.entrypoint.length === 1 && image.entrypoint[0] === '' ? [] : image.entrypoint;
  const args = config.args.length > 0 ? config.args : image.cmd;
  const line = [...entrypoint, ...args];
  if (line.length === 0) {
    throw new BerthError(
      'invalid_argument',
      'no command specified: neither the container nor its image names a command; set "command" or "args"',
    );
  }
  return line;
}

/** Merges `KEY=value` lists; a later value replaces an earlier one where it stands. */
export function mergeEnvironment(...lists: readonly (readonly string[])[]): string[] {
  const values = new Map<string, string>();
  for (const entry of lists.flat()) {
    const end = entry.indexOf('=');
    // An entry without a value counts as absent: the OCI spec wants KEY=value.
    if (end > 0) values.set(entry.slice(0, end), entry);
  }
  return [...values.values()];
}

/** The environment of a container: defaults, then the image's, then the pod's own. */
export function environment(
  hostname: string,
  image: Pick<ImageProcess, 'env'>,
  own: readonly EnvironmentVariable[],
): string[] {
  return mergeEnvironment(
    [defaultPath, `HOSTNAME=${hostname}`],
    image.env,
    own.map(({ key, value }) => `${key}=${value}`),
  );
}
