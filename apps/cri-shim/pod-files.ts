import { chown, copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { MNT, MS, mount, netnsCreate, netnsDelete, umount } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { allSettled } from './all-settled.ts';
import type { PodConfig } from './cri-types.ts';
import { contextOption } from './selinux/labelled.ts';
import type { PodMount } from './spec/mounts.ts';
import type { PodSharing } from './spec/namespaces.ts';
import { podIdMap } from './spec/user-namespace.ts';

/** Bytes of a pod's /dev/shm. */
const shmSize = 64 << 20;

/**
 * What a pod has on the host: `<root>/sandboxes/ID/{hostname,hosts,resolv.conf}`, `<state>/sandboxes/ID/shm` and the
 * pinned network namespace `<state>/netns/ID`.
 */
export class PodFiles {
  readonly #sandboxes: string;
  readonly #volatile: string;
  readonly #netns: string;

  constructor(root: string, state: string) {
    this.#sandboxes = join(root, 'sandboxes');
    this.#volatile = join(state, 'sandboxes');
    this.#netns = join(state, 'netns');
  }

  /** Makes the parent directories. */
  async prepare(): Promise<void> {
    const modes = [
      [this.#sandboxes, 0o711],
      [this.#volatile, 0o711],
      [this.#netns, 0o711],
    ] as const;
    for (const [dir, mode] of modes) await mkdir(dir, { recursive: true, mode });
  }

  netnsPath(id: string): string {
    return join(this.#netns, id);
  }

  shmPath(id: string): string {
    return join(this.#volatile, id, 'shm');
  }

  resolvPath(id: string): string {
    return join(this.#sandboxes, id, 'resolv.conf');
  }

  /**
   * Writes the pod's files and mounts its /dev/shm. A failure is cleaned up by `remove`.
   *
   * @param mountLabel SELinux label of what is in /dev/shm
   */
  async create(id: string, config: PodConfig, sharing: PodSharing, mountLabel?: string): Promise<void> {
    const dir = join(this.#sandboxes, id);
    await mkdir(dir, { mode: 0o711 });
    const write = (name: string, text: string) => writeFile(join(dir, name), text, { mode: 0o644 });
    await allSettled([
      write('hostname', `${config.hostname || hostname()}\n`),
      copyOrEmpty('/etc/hosts', join(dir, 'hosts')),
      writeResolvConf(config.dnsConfig, join(dir, 'resolv.conf')),
      sharing.hostIpc ? undefined : this.#mountShm(id, mountLabel),
    ]);
    const users = podIdMap(config);
    if (users === undefined) return;
    // Root of the pod may write them. An id-mapped mount would do as well, but not with crun 1.8 in a shared PID namespace.
    const [uid, gid] = [users.uidMappings[0]?.hostID ?? 0, users.gidMappings[0]?.hostID ?? 0];
    await allSettled(['hostname', 'hosts', 'resolv.conf'].map((name) => chown(join(dir, name), uid, gid)));
  }

  async createNetns(id: string): Promise<string> {
    const path = this.netnsPath(id);
    try {
      await netnsCreate(path);
      return path;
    } catch (error) {
      throw BerthError.from(error, `create network namespace ${path}`);
    }
  }

  /** Keeps the network namespace of a process. A failure is cleaned up by `removeNetns`. */
  async pinNetns(id: string, pid: number): Promise<void> {
    const path = this.netnsPath(id);
    try {
      await writeFile(path, '', { flag: 'wx', mode: 0o444 });
      mount(`/proc/${pid}/ns/net`, path, '', MS.BIND, '');
    } catch (error) {
      throw BerthError.from(error, `pin network namespace ${path}`);
    }
  }

  removeNetns(id: string): void {
    try {
      netnsDelete(this.netnsPath(id));
    } catch (error) {
      throw BerthError.from(error, `remove network namespace ${this.netnsPath(id)}`);
    }
  }

  /** Takes the pod's /dev/shm away; there being none is no error. */
  async removeShm(id: string): Promise<void> {
    try {
      umount(this.shmPath(id), MNT.DETACH | MNT.UMOUNT_NOFOLLOW);
    } catch (error) {
      if (!hasErrno(error, 'ENOENT', 'EINVAL')) throw BerthError.from(error, `unmount ${this.shmPath(id)}`);
    }
    await rm(join(this.#volatile, id), { recursive: true, force: true });
  }

  /** Removes all that `create` made. */
  async remove(id: string): Promise<void> {
    await this.removeShm(id);
    await rm(join(this.#sandboxes, id), { recursive: true, force: true });
  }

  /** Ids of pods that have anything on the host. */
  async ids(): Promise<Set<string>> {
    const lists = await Promise.all(
      [this.#sandboxes, this.#volatile, this.#netns].map((dir) => readdir(dir).catch(() => [])),
    );
    return new Set(lists.flat());
  }

  /** The pod's files as mounts of its containers. */
  podMounts(id: string, sharing: PodSharing, readonlyRootfs: boolean): PodMount[] {
    const dir = join(this.#sandboxes, id);
    const file = (name: string) => ({
      containerPath: `/etc/${name}`,
      hostPath: join(dir, name),
      readonly: readonlyRootfs,
      selinuxRelabel: true,
    });
    const shm = sharing.hostIpc ? '/dev/shm' : this.shmPath(id);
    return [
      file('hostname'),
      file('hosts'),
      file('resolv.conf'),
      // Its label is its mount's.
      { containerPath: '/dev/shm', hostPath: shm, readonly: false, selinuxRelabel: false },
    ];
  }

  async #mountShm(id: string, label: string | undefined): Promise<void> {
    const path = this.shmPath(id);
    await mkdir(path, { recursive: true, mode: 0o711 });
    const options = [`mode=1777,size=${shmSize}`, ...(label === undefined ? [] : [contextOption(label)])];
    try {
      mount('shm', path, 'tmpfs', MS.NOSUID | MS.NODEV | MS.NOEXEC, options.join(','));
    } catch (error) {
      throw BerthError.from(error, `mount ${path}`);
    }
  }
}

/** The pod's resolver configuration: what the kubelet says, or the host's where it says nothing. */
async function writeResolvConf(dns: PodConfig['dnsConfig'], path: string): Promise<void> {
  const { servers = [], searches = [], options = [] } = dns ?? {};
  if (servers.length + searches.length + options.length === 0) return await copyOrEmpty('/etc/resolv.conf', path);
  for (const entry of [...servers, ...searches, ...options]) {
    if (!/\s/.test(entry)) continue;
    throw new BerthError(
      'invalid_argument',
      `DNS configuration has an entry with white space: ${JSON.stringify(entry)}`,
    );
  }
  const lines = [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o644 });
}

async function copyOrEmpty(source: string, target: string): Promise<void> {
  try {
    await copyFile(source, target);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, `copy ${source}`);
    await writeFile(target, '', { mode: 0o644 });
  }
}
