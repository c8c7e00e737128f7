import { BerthError, messageOf } from '#common/errors.ts';
import { makeFolders, readTextIfThere, removeFile, writeTextAtomic } from '#common/native/files.ts';

/** What `delete` must know of a container whose shim has died. */
export interface SavedRuntime {
  readonly binary: string;
  readonly root: string;
  readonly systemdCgroup: boolean;
  /** The criu program, by name or path. */
  readonly criu: string;
}

/**
 * A bundle's files:
 *
 *     config.json   the OCI spec, written by the daemon
 *     rootfs/       mounted here by Create
 *     log           FIFO of the shim's log lines, made and read by the daemon
 *     address       the shim's socket as `unix://…`
 *     shim.pid      the serving shim
 *     runtime.json  which OCI runtime the container was created with
 *     init.pid, <exec id>.pid, <exec id>.json, runc-<n>.log   made and removed around calls of the OCI runtime
 */
export class Bundle {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  get rootfs(): string {
    return `${this.path}/rootfs`;
  }

  get log(): string {
    return `${this.path}/log`;
  }

  get initPid(): string {
    return `${this.path}/init.pid`;
  }

  execPid(execId: string): string {
    return `${this.path}/${execId}.pid`;
  }

  execSpec(execId: string): string {
    return `${this.path}/${execId}.json`;
  }

  makeRootfs(): void {
    makeFolders(this.rootfs, 0o711);
  }

  saveRuntime(runtime: SavedRuntime): void {
    writeTextAtomic(`${this.path}/runtime.json`, JSON.stringify(runtime));
  }

  /** undefined when no container was created in this bundle. An earlier version of the shim may have written it. */
  readRuntime(): SavedRuntime | undefined {
    const text = this.#read('runtime.json');
    return text === undefined ? undefined : { criu: 'criu', ...(JSON.parse(text) as Omit<SavedRuntime, 'criu'>) };
  }

  saveAddress(address: string): void {
    writeTextAtomic(`${this.path}/address`, address);
  }

  readAddress(): string | undefined {
    return this.#read('address')?.trim();
  }

  saveShimPid(pid: number): void {
    writeTextAtomic(`${this.path}/shim.pid`, String(pid));
  }

  /** The pid of init, 0 when the file is missing or cut short. */
  readInitPid(): number {
    return Number.parseInt(this.#read('init.pid') ?? '', 10) || 0;
  }

  remove(path: string): void {
    removeFile(path);
  }

  /**
   * Whether other processes of the container outlive init: it has no pid namespace of its own
   * (runtime-spec, config-linux.md, "Namespaces": a namespace with a path is joined).
   */
  sharesPidNamespace(): boolean {
    const text = this.#read('config.json');
    if (text === undefined) return false;
    try {
      const spec = JSON.parse(text) as { linux?: { namespaces?: { type: string; path?: string }[] } };
      const own = spec.linux?.namespaces?.find((namespace) => namespace.type === 'pid');
      return own === undefined || (own.path ?? '') !== '';
    } catch (cause) {
      throw new BerthError('invalid_argument', `${this.path}/config.json is no valid JSON: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  #read(name: string): string | undefined {
    try {
      return readTextIfThere(`${this.path}/${name}`);
    } catch (error) {
      throw BerthError.from(error, `read ${name} of the bundle`);
    }
  }
}
