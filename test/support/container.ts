import { constants, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { native } from '#common/native/index.ts';
import type { Process, RuntimeSpec } from '#common/oci/runtime-spec.ts';
import { packJson, typeUrls } from '#common/typeurl.ts';
import type { BerthdSuite } from './berthd-suite.ts';

export interface ContainerOptions {
  readonly id: string;
  /** Key of the snapshot the root filesystem builds on. */
  readonly chain: string;
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly runtime?: string;
  /** Further changes to the specification. */
  readonly change?: (spec: RuntimeSpec) => void;
}

/** Snapshot and record of a container; `removeContainer` undoes it. */
export async function createContainer(
  { clients, namespace }: Pick<BerthdSuite, 'clients' | 'namespace'>,
  options: ContainerOptions,
): Promise<void> {
  const { id, chain, args, labels = {}, runtime = 'io.containerd.runc.v2' } = options;
  const spec = specOf(`/${namespace}/${id}`, processOf(args, options.terminal));
  options.change?.(spec);
  const snapshot = { snapshotter: 'overlayfs', key: id, parent: chain };
  await clients.snapshots.prepare({ ...snapshot, labels: { 'containerd.io/gc.root': 'now' } });
  await clients.containers.create({
    container: {
      id,
      labels,
      runtime: { name: runtime },
      snapshotter: 'overlayfs',
      snapshotKey: id,
      spec: packJson(typeUrls.spec, spec),
    },
  });
}

export async function removeContainer({ clients }: Pick<BerthdSuite, 'clients'>, id: string): Promise<void> {
  await clients.containers.delete({ id });
  await clients.snapshots.remove({ snapshotter: 'overlayfs', key: id });
}

/** Makes a container and starts its task; `endContainer` undoes it. Answers its process id. */
export async function runContainer(
  suite: Pick<BerthdSuite, 'clients' | 'namespace'>,
  options: ContainerOptions,
): Promise<number> {
  const { tasks } = suite.clients;
  await createContainer(suite, options);
  const { pid } = await tasks.create({ containerId: options.id });
  await tasks.start({ containerId: options.id });
  return pid;
}

/** Kills the task, whose exit code is to say so, and removes the container. */
export async function endContainer(suite: Pick<BerthdSuite, 'clients'>, id: string): Promise<void> {
  const { tasks } = suite.clients;
  await tasks.kill({ containerId: id, signal: 9 });
  expect(await tasks.wait({ containerId: id })).toMatchObject({ exitStatus: 137 });
  await tasks.delete({ containerId: id });
  await removeContainer(suite, id);
}

/** FIFOs as a client makes them, with what comes out of them. */
export class Output implements Disposable {
  readonly stdout: string;
  readonly stderr: string;
  readonly #out: FifoReader;
  readonly #err: FifoReader;

  constructor(dir: string, name: string) {
    const folder = join(dir, 'fifo');
    mkdirSync(folder, { recursive: true });
    this.stdout = join(folder, `${name}-stdout`);
    this.stderr = join(folder, `${name}-stderr`);
    this.#out = new FifoReader(this.stdout);
    this.#err = new FifoReader(this.stderr);
  }

  /** All of stdout, once every writer has gone; never for a FIFO that none opens. */
  get out(): Promise<string> {
    return this.#out.text;
  }

  /** As `out`, for stderr. */
  get err(): Promise<string> {
    return this.#err.text;
  }

  /** Both, once every writer has gone. */
  async text(): Promise<{ stdout: string; stderr: string }> {
    const [stdout, stderr] = await Promise.all([this.out, this.err]);
    return { stdout, stderr };
  }

  [Symbol.dispose](): void {
    this.#out[Symbol.dispose]();
    this.#err[Symbol.dispose]();
  }
}

/** Reads through epoll: a blocking open would hold a thread of the pool until somebody writes. */
class FifoReader implements Disposable {
  readonly text: Promise<string>;
  readonly #path: string;
  readonly #socket: Socket;

  constructor(path: string) {
    native.mkfifo(path, 0o600);
    this.#path = path;
    this.#socket = new Socket({ fd: native.open(path, constants.O_RDONLY | constants.O_NONBLOCK, 0), readable: true });
    this.text = Array.fromAsync(this.#socket, String).then(
      (chunks) => chunks.join(''),
      () => '',
    );
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    rmSync(this.#path);
  }
}

/** The process of a container or of an exec. */
export function processOf(args: readonly string[], terminal = false): Process {
  const capabilities = [
    'CAP_CHOWN',
    'CAP_DAC_OVERRIDE',
    'CAP_KILL',
    'CAP_NET_BIND_SERVICE',
    'CAP_SETGID',
    'CAP_SETUID',
  ];
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    args: [...args],
    env: ['PATH=/bin', 'TERM=xterm'],
    cwd: '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: true,
  };
}

function specOf(cgroupsPath: string, process: Process): RuntimeSpec {
  return {
    ociVersion: '1.0.2',
    process,
    root: { path: 'rootfs' },
    hostname: 'test',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
    ],
    linux: {
      cgroupsPath,
      namespaces: [{ type: 'pid' }, { type: 'ipc' }, { type: 'uts' }, { type: 'mount' }],
      resources: { devices: [{ allow: false, access: 'rwm' }] },
    },
  };
}

/** Whether a process is alive, zombies apart. */
export function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
