import { chmodSync, chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { MNT, mkfifo, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { type Bootstrap, parseBootstrap } from './bootstrap.ts';
import type { Exit } from './exit.ts';

/** What a bundle on disk says about how far its task got. Everything a restarted daemon knows of a shim. */
export interface BundleFacts {
  /** The shim's executable; undefined when no shim was ever started. */
  readonly shimBinary: string | undefined;
  /** Where the shim serves; undefined when its `start` never answered. */
  readonly bootstrap: Bootstrap | undefined;
  /** The task or pod whose shim it is. */
  readonly group: string;
  /** The address that a shim itself wrote down (containerd's do). */
  readonly address: string | undefined;
  /** The sandbox whose shim serves the task; undefined for a task with a shim of its own. */
  readonly sandbox: string | undefined;
  /** Whether the shim had acknowledged the Create, and no Delete was told since. */
  readonly created: boolean;
  /** How the init process ended, once that is known. */
  readonly exit: Exit | undefined;
}

/**
 * One task's folder, `<state>/io.containerd.runtime.v2.task/<namespace>/<id>` as in containerd, where tools look for it:
 *
 *     config.json       OCI runtime spec, as the container's record has it
 *     container.json    the rest of that record (containers/container-file.ts), for the day when the database is lost
 *     rootfs/           where the shim mounts the root file system
 *     log               FIFO for the shim's own log lines
 *     shim-binary-path  path of the shim, written before the shim is started
 *     bootstrap.json    its answer to `start`
 *     group             the pod whose shim it is, where pods have one
 *     sandbox           id of the sandbox whose shim serves the task: no shim is started for it
 *     created           there from the acknowledged Create until a Delete is acknowledged and told
 *     exit.json         how the init process ended
 *
 * It lives on a tmpfs: small writes are synchronous, because a round trip through the thread pool takes longer than the
 * write, and nothing is flushed.
 */
export class Bundle {
  readonly namespace: string;
  readonly id: string;
  readonly path: string;

  constructor(tasksDir: string, namespace: string, id: string) {
    this.namespace = namespace;
    this.id = id;
    this.path = join(tasksDir, namespace, id);
  }

  get rootfs(): string {
    return join(this.path, 'rootfs');
  }

  get logFifo(): string {
    return join(this.path, 'log');
  }

  /**
   * Makes the folder for a shim that is about to be started. A failure leaves nothing.
   * @throws already_exists when it is there.
   */
  create(spec: Uint8Array, shimBinary: string): void {
    mkdirSync(join(this.path, '..'), { recursive: true, mode: 0o711 });
    try {
      mkdirSync(this.path, { mode: 0o700 });
    } catch (error) {
      if (!hasErrno(error, 'EEXIST')) throw BerthError.from(error, `making the bundle of task ${this.id}`);
      throw new BerthError('already_exists', `bundle of task ${this.id} is already there: ${this.path}`);
    }
    try {
      this.#fill(spec, shimBinary);
    } catch (error) {
      rmSync(this.path, { recursive: true });
      throw BerthError.from(error, `making the bundle of task ${this.id}`);
    }
  }

  recordBootstrap(bootstrap: Bootstrap): void {
    this.#write('bootstrap.json', JSON.stringify(bootstrap));
  }

  recordGroup(group: string): void {
    if (group !== this.id) this.#write('group', group);
  }

  recordSandbox(id: string): void {
    this.#write('sandbox', id);
  }

  recordCreated(): void {
    this.#write('created', '');
  }

  recordExit(exit: Exit): void {
    this.#write('exit.json', JSON.stringify(exit));
  }

  async recordDeleted(): Promise<void> {
    await unlink(join(this.path, 'created')).catch(ignoreMissing);
  }

  async facts(): Promise<BundleFacts> {
    const [shimBinary, bootstrap, group, address, sandbox, created, exit] = await Promise.all(
      ['shim-binary-path', 'bootstrap.json', 'group', 'address', 'sandbox', 'created', 'exit.json'].map((name) =>
        this.#read(name),
      ),
    );
    return {
      shimBinary: shimBinary?.toString() || undefined,
      bootstrap: bootstrap?.length ? parseBootstrap(bootstrap) : undefined,
      group: group?.toString() || this.id,
      address: address?.toString().trim() || undefined,
      sandbox: sandbox?.toString() || undefined,
      created: created !== undefined,
      exit: exit?.length ? (JSON.parse(exit.toString()) as Exit) : undefined,
    };
  }

  /**
   * Removes the folder: unmounts what the shim left on rootfs, then renames it away, so that a half removed folder is
   * never taken for a bundle. Never walks into rootfs: were it still mounted, that would be the container's data.
   */
  async remove(): Promise<void> {
    try {
      await this.unmountRootfs();
      await rmdir(this.rootfs).catch(ignoreMissing);
      const hidden = join(this.path, '..', `.${this.id}`);
      await rm(hidden, { recursive: true, force: true });
      await rename(this.path, hidden);
      await rm(hidden, { recursive: true, force: true });
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return;
      throw BerthError.from(error, `removing the bundle of task ${this.id}`);
    }
  }

  /** Undoes what is mounted on rootfs, however often. */
  async unmountRootfs(): Promise<void> {
    for (;;) {
      const [outside, inside] = await Promise.all([statOf(this.path), statOf(this.rootfs)]);
      if (outside === undefined || inside === undefined || outside.dev === inside.dev) return;
      umount(this.rootfs, MNT.DETACH | MNT.UMOUNT_NOFOLLOW);
    }
  }

  #fill(spec: Uint8Array, shimBinary: string): void {
    const owner = remappedGroup(spec);
    if (owner !== 0) {
      // The container's root has to reach its rootfs through this folder.
      chownSync(this.path, -1, owner);
      chmodSync(this.path, 0o710);
    }
    mkdirSync(this.rootfs, { mode: 0o711 });
    writeFileSync(join(this.path, 'config.json'), spec, { mode: 0o600 });
    mkfifo(this.logFifo, 0o600);
    writeFileSync(join(this.path, 'shim-binary-path'), shimBinary, { mode: 0o600 });
  }

  /** One short write: a kill leaves the file whole, or empty, which `facts` takes for absent. */
  #write(name: string, content: string): void {
    writeFileSync(join(this.path, name), content, { mode: 0o600 });
  }

  async #read(name: string): Promise<Buffer | undefined> {
    try {
      return await readFile(join(this.path, name));
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }
}

/** The host's group for the container's group 0; 0 when ids aren't mapped. */
function remappedGroup(spec: Uint8Array): number {
  const text = Buffer.from(spec.buffer, spec.byteOffset, spec.byteLength);
  if (!text.includes('"gidMappings"')) return 0;
  const parsed = JSON.parse(text.toString('utf8')) as {
    linux?: { gidMappings?: { containerID?: number; hostID?: number }[] };
  };
  const mapping = parsed.linux?.gidMappings?.find(({ containerID }) => (containerID ?? 0) === 0);
  return mapping?.hostID ?? 0;
}

async function statOf(path: string) {
  return stat(path).catch(ignoreMissing);
}

function ignoreMissing(error: unknown): undefined {
  if (!hasErrno(error, 'ENOENT')) throw error;
  return undefined;
}
