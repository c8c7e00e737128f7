import { execFileSync } from 'node:child_process';
import { constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { mkfifo } from '#common/native/index.ts';
import { shareVariable } from '#common/shim-group.ts';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { TtrpcServer } from '#common/ttrpc/server.ts';
import { decode, encode, type MessageName } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import { removeCgroups } from './cgroups.ts';
import { removeScratch, scratchDir } from './scratch.ts';
import { waitFor } from './wait-for.ts';

const shimBinary = join(import.meta.dirname, '../../dist/containerd-shim-berth-v1');
const applets = ['sh', 'cat', 'echo', 'sleep', 'true', 'false', 'stty', 'tty', 'head', 'kill', 'ps', 'dd', 'wc'];

/** Message types of the task service's methods, where they aren't named after them. */
const oddRequests: Readonly<Record<string, string>> = {
  Checkpoint: 'CheckpointTask',
  Create: 'CreateTask',
  Exec: 'ExecProcess',
  Update: 'UpdateTask',
};
const empty = new Set(['Checkpoint', 'Pause', 'Resume', 'Kill', 'Exec', 'ResizePty', 'CloseIO', 'Update', 'Shutdown']);

export interface SeenEvent {
  readonly topic: string;
  readonly namespace: string;
  /** The decoded event. */
  readonly event: Readonly<Record<string, unknown>>;
}

/** The daemon's side of shims: bundles, FIFOs, the end that events are forwarded to. */
export class ShimBed implements AsyncDisposable {
  readonly dir = scratchDir();
  readonly namespace = `berth-test-${process.pid}`;
  readonly events: SeenEvent[] = [];
  readonly address = join(this.dir, 'd.sock');
  #eventServer: TtrpcServer | undefined;
  readonly #shims: Shim[] = [];

  static async create(): Promise<ShimBed> {
    const bed = new ShimBed();
    const root = join(bed.dir, 'image');
    for (const folder of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc'])
      mkdirSync(join(root, folder), { recursive: true });
    await copyFile('/bin/busybox', join(root, 'bin/busybox'));
    for (const applet of applets) symlinkSync('busybox', join(root, 'bin', applet));
    await bed.listen();
    return bed;
  }

  /** Takes events from now on; without it the shims find nobody. */
  async listen(): Promise<void> {
    const server = new TtrpcServer();
    server.handle('containerd.services.events.ttrpc.v1.Events', 'Forward', (payload) => {
      const { envelope } = decode('containerd.services.events.ttrpc.v1.ForwardRequest', payload);
      const event = decode((envelope?.event?.type_url ?? '') as MessageName, envelope?.event?.value ?? Buffer.alloc(0));
      this.events.push({
        topic: envelope?.topic ?? '',
        namespace: envelope?.namespace ?? '',
        event: { ...(event as object) },
      });
      return encode('google.protobuf.Empty', {});
    });
    await server.listen(`${this.address}.ttrpc`);
    this.#eventServer = server;
  }

  async stopListening(): Promise<void> {
    await this.#eventServer?.close();
    this.#eventServer = undefined;
    rmSync(`${this.address}.ttrpc`, { force: true });
  }

  topics(): string[] {
    return this.events.map(({ topic }) => topic);
  }

  /** A bundle for `args`, and the shim that serves it. */
  async shim(id: string, spec: SpecOptions): Promise<Shim> {
    const bundle = join(this.dir, 'bundles', id);
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(specOf(`/${this.namespace}/${id}`, spec)));
    const shim = new Shim(this, id, bundle);
    this.#shims.push(shim);
    await shim.start(spec.group === undefined ? {} : { [shareVariable]: '1' });
    return shim;
  }

  /** Calls the shim's program as a daemon does, in the bundle. */
  command(
    bundle: string,
    id: string,
    action: string,
    env: Readonly<Record<string, string>> = {},
    input: Uint8Array = new Uint8Array(),
  ): Buffer {
    const flags = ['-namespace', this.namespace, '-address', this.address, '-publish-binary', '/bin/false', '-id', id];
    return execFileSync(shimBinary, [...flags, action], {
      cwd: bundle,
      input,
      env: {
        ...process.env,
        TTRPC_ADDRESS: `${this.address}.ttrpc`,
        BERTH_SHIM_SOCKET_DIR: join(this.dir, 's'),
        ...env,
      },
    });
  }

  /** Where an OCI runtime keeps its state. */
  runtimeRoot(runtime: string): string {
    return join(this.dir, 'state', basename(runtime));
  }

  fifo(name: string): string {
    const path = join(this.dir, name);
    mkfifo(path, 0o600);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const shim of this.#shims) await shim.destroy();
    await this.stopListening();
    removeCgroups(this.namespace);
    removeScratch(this.dir);
  }
}

export interface SpecOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  /** Without a pid namespace of its own the container sees the machine's processes. */
  readonly hostPid?: boolean;
  readonly memoryLimit?: number;
  readonly uid?: number;
  /** In a user namespace whose root this is; 65536 ids from there on. */
  readonly userNamespace?: number;
  /** The containers that the shim is shared with. */
  readonly group?: string;
}

function specOf(cgroupsPath: string, spec: SpecOptions): object {
  const { args, terminal = false, hostPid = false, memoryLimit, uid = 0, userNamespace, group } = spec;
  const mappings = [{ containerID: 0, hostID: userNamespace, size: 65_536 }];
  const namespaces = [
    'mount',
    'ipc',
    'uts',
    'network',
    ...(hostPid ? [] : ['pid']),
    ...(userNamespace === undefined ? [] : ['user']),
  ];
  return {
    ociVersion: '1.0.2',
    process: { ...processOf(args, terminal), user: { uid, gid: uid } },
    root: { path: 'rootfs' },
    annotations: group === undefined ? {} : { 'io.kubernetes.cri.sandbox-id': group },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance', 'ptmxmode=0666'] },
    ],
    linux: {
      cgroupsPath,
      namespaces: namespaces.map((type) => ({ type })),
      ...(userNamespace === undefined ? {} : { uidMappings: mappings, gidMappings: mappings }),
      resources: memoryLimit === undefined ? {} : { memory: { limit: memoryLimit } },
    },
  };
}

export function processOf(args: readonly string[], terminal = false): object {
  return { args, cwd: '/', terminal, user: { uid: 0, gid: 0 }, env: ['PATH=/bin'] };
}

type RequestOf<M extends string> = `containerd.task.v2.${M}Request` extends MessageName
  ? WireTypes[`containerd.task.v2.${M}Request`]['in']
  : object;

/** One shim, called as a daemon calls it. */
export class Shim {
  readonly id: string;
  readonly bundle: string;
  readonly #bed: ShimBed;
  #client: TtrpcClient | undefined;

  constructor(bed: ShimBed, id: string, bundle: string) {
    this.#bed = bed;
    this.id = id;
    this.bundle = bundle;
  }

  async start(env: Readonly<Record<string, string>> = {}): Promise<string> {
    const address = this.#bed.command(this.bundle, this.id, 'start', env).toString();
    this.#client = await TtrpcClient.connect(address.replace('unix://', ''));
    return address;
  }

  get pid(): number {
    return Number(readFileSync(join(this.bundle, 'shim.pid'), 'utf8'));
  }

  /** Calls `method` with this container's id. The answer is as loose as tests like it. */
  async call<M extends string>(
    method: M,
    request: RequestOf<M> = {} as RequestOf<M>,
    version: 'v2' | 'v3' = 'v2',
  ): Promise<Record<string, unknown>> {
    const client = this.#client;
    if (client === undefined) throw new Error(`shim ${this.id} isn't running`);
    const requestType = `containerd.task.v2.${oddRequests[method] ?? method}Request` as MessageName;
    const responseType = (
      empty.has(method) ? 'google.protobuf.Empty' : `containerd.task.v2.${oddRequests[method] ?? method}Response`
    ) as MessageName;
    const payload = encode(requestType, { id: this.id, ...request });
    const answer = await client.call(`containerd.task.${version}.Task`, method, payload);
    return { ...(decode(responseType, answer) as object) };
  }

  /** Create with the image bound as rootfs. `request` has stdio and other fields; `more` further runtime options. */
  async create(
    request: Partial<WireTypes['containerd.task.v2.CreateTaskRequest']['in']> = {},
    runtime = 'runc',
    more: WireTypes['containerd.runc.v1.Options']['in'] = {},
  ): Promise<number> {
    const root = this.#bed.runtimeRoot(runtime);
    const options = encode('containerd.runc.v1.Options', { binaryName: runtime, root, ...more });
    const { pid } = await this.call('Create', {
      bundle: this.bundle,
      rootfs: [{ type: 'bind', source: join(this.#bed.dir, 'image'), options: ['rbind', 'ro'] }],
      options: { type_url: 'containerd.runc.v1.Options', value: Buffer.from(options) },
      ...request,
    } as RequestOf<string>);
    return pid as number;
  }

  /** The daemon's connection breaks. */
  disconnect(): void {
    this.#client?.close();
  }

  /** Adds and starts an exec; answers its pid. */
  async exec(execId: string, args: readonly string[], stdio: object = {}): Promise<number> {
    const spec = { type_url: 'p', value: Buffer.from(JSON.stringify(processOf(args))) };
    await this.call('Exec', { execId, spec, ...stdio } as RequestOf<string>);
    return (await this.call('Start', { execId } as RequestOf<string>)).pid as number;
  }

  /** Ends the container and the shim, however far they have come. */
  async destroy(): Promise<void> {
    this.#client?.close();
    const pid = existsSync(join(this.bundle, 'shim.pid')) ? this.pid : 0;
    try {
      if (pid !== 0) process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
    await waitFor('the shim to end', () => pid === 0 || !isAlive(pid));
    this.#bed.command(this.bundle, this.id, 'delete');
  }
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Everything that comes through a FIFO from now until its last writer closes it. */
export function readFifo(path: string): { readonly text: () => string; readonly ended: Promise<string> } {
  const socket = new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), writable: false });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString();
  });
  const ended = new Promise<string>((resolve) => socket.on('close', () => resolve(text)));
  return { text: () => text, ended };
}
