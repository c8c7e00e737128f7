import { accessSync, constants } from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join } from 'node:path';
import { BerthError } from '#common/errors.ts';

const FORM = 'a name such as "io.containerd.runc.v2" or the absolute path of a shim';

/** The file name of the shim that a runtime name stands for; undefined when it is no such name. */
export function shimFileName(runtime: string): string | undefined {
  const parts = runtime.split('.');
  const version = parts.at(-1);
  const name = parts.at(-2);
  if (!parts[0] || !name || !version || runtime.includes('/')) return undefined;
  return `containerd-shim-${name}-${version}`;
}

export interface RuntimeNamesOptions {
  /** Our own shim: what `defaultRuntime` means, and its own name. Its folder is searched after PATH. */
  readonly shimBinary: string;
  /** Default: `io.containerd.runc.v2`, because that is the name clients ask for. */
  readonly defaultRuntime?: string;
  /** Folders to search, as in PATH. Default: this process's PATH. */
  readonly path?: string;
}

/** Finds the shim's executable for the runtime that a container names. */
export class RuntimeNames {
  readonly #own: string;
  readonly #default: string;
  readonly #folders: readonly string[];

  constructor(options: RuntimeNamesOptions) {
    this.#own = options.shimBinary;
    this.#default = options.defaultRuntime ?? 'io.containerd.runc.v2';
    this.#folders = [...(options.path ?? process.env.PATH ?? '').split(delimiter), dirname(options.shimBinary)];
  }

  /**
   * The executable's absolute path.
   * @throws invalid_argument for a malformed name; failed_precondition when the shim isn't installed.
   */
  resolve(runtime: string): string {
    if (isAbsolute(runtime)) return this.#present(runtime, runtime);
    const file = shimFileName(runtime);
    if (file === undefined) {
      throw new BerthError('invalid_argument', `invalid runtime name ${JSON.stringify(runtime)}: expected ${FORM}`);
    }
    if (runtime === this.#default || file === basename(this.#own)) return this.#present(this.#own, runtime);
    for (const folder of this.#folders) {
      const candidate = join(folder, file);
      if (isAbsolute(folder) && isExecutable(candidate)) return candidate;
    }
    throw new BerthError(
      'failed_precondition',
      `runtime ${runtime}: ${file} is not installed: put it on berthd's PATH, or name the shim by its absolute path`,
    );
  }

  /** Whether the shim takes `containerd.runc.v1.Options` without being given any: ours and containerd's for runc. */
  drivesRunc(binary: string): boolean {
    return binary === this.#own || basename(binary).startsWith('containerd-shim-runc-');
  }

  #present(binary: string, runtime: string): string {
    if (isExecutable(binary)) return binary;
    throw new BerthError('failed_precondition', `runtime ${runtime}: ${binary} is not there or not executable`);
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
