import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { shimCgroupOf } from '#common/cgroup/shim-cgroup.ts';
import { Children } from '#common/child/children.ts';
import { type RunOptions, type RunResult, runProgram } from '#common/child/run-program.ts';
import { BerthError, type Code, isCode, messageOf } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { Any } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { type Bootstrap, parseBootstrap, TASK_API_VERSION } from './bootstrap.ts';
import type { Bundle } from './bundle.ts';
import { type Exit, KILLED } from './exit.ts';
import { Shim } from './shim.ts';
import { shimSocketPath } from './shim-socket.ts';
import { ShimTemplate } from './shim-template.ts';

/** What every call of a shim's command line has in common. */
export interface ShimSurroundings {
  /** Our gRPC socket. */
  readonly address: string;
  /** The socket that shims forward events to. */
  readonly ttrpcAddress: string;
  /** Folder for shims' sockets. Ours obey; containerd's before 2.3 use /run/containerd/s. */
  readonly socketDir: string;
  /** The native addon of our own shim's installation. */
  readonly addon: string;
  /** Folder for the template of our own shim. */
  readonly templateDir: string;
  readonly debug: boolean;
  readonly log: Logger;
}

const START_TIMEOUT_MS = 30_000;
const DELETE_TIMEOUT_MS = 30_000;
const INFO_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** Bytes of each output that are kept. */
const OUTPUT_LIMIT = 1 << 20;
/** What a shim built against containerd 2.3 or newer says when it gets no BootstrapParams. */
const WANTS_PARAMS = /deprecated (bootstrap )?API/;

/** The file name of our own shim. */
const OWN_SHIM = 'containerd-shim-berth-v1';

/** Whether an executable is our own shim, wherever it is installed. */
export function isOwnShim(binary: string): boolean {
  return basename(binary) === OWN_SHIM;
}

/** `SHIM … start`, `SHIM … delete` and `SHIM -info`. */
export class ShimCommand implements Disposable {
  readonly #around: ShimSurroundings;
  readonly #children = new Children();
  /** Shims that were found to want BootstrapParams on stdin. */
  readonly #wantParams = new Set<string>();
  /** Of our own shim, by path; each is made when the first shim is wanted. */
  readonly #templates = new Map<string, ShimTemplate>();

  constructor(surroundings: ShimSurroundings) {
    this.#around = surroundings;
  }

  /**
   * Starts the bundle's shim, or answers where one serves its group already: no two calls for one group at a time. A new
   * shim may be up although this fails: the caller reaps the bundle.
   * Shims older than containerd 2.3 fail when they get BootstrapParams, newer ones when they don't, and neither has
   * started anything by then: the first of a kind is tried both ways.
   * @throws what the shim printed, as `unknown`; deadline_exceeded; canceled.
   */
  async start(
    binary: string,
    bundle: Bundle,
    group: string,
    options: Any | null,
    signal?: AbortSignal,
  ): Promise<Bootstrap> {
    if (isOwnShim(binary)) return await this.#serve(binary, bundle, group, options, signal);
    const run = (stdin: Uint8Array) => this.#run(binary, bundle, 'start', stdin, START_TIMEOUT_MS, signal);
    let result = await run(this.#wantParams.has(binary) ? this.#params(bundle, options) : legacyStdin(options));
    if (!result.ok && WANTS_PARAMS.test(result.complaint)) {
      this.#wantParams.add(binary);
      result = await run(this.#params(bundle, options));
    }
    if (!result.ok) throw new BerthError(result.code, `shim ${binary} for task ${bundle.id}: ${result.complaint}`);
    return parseBootstrap(result.stdout);
  }

  /**
   * Lets the shim's executable clear away what a dead shim left: it kills the container, unmounts its rootfs and says how
   * it ended.
   * @throws what the shim printed, as `unknown`; deadline_exceeded.
   */
  async delete(binary: string, bundle: Bundle): Promise<Exit> {
    const result = await this.#run(binary, bundle, 'delete', new Uint8Array(), DELETE_TIMEOUT_MS);
    if (!result.ok) throw new BerthError(result.code, `shim ${binary} delete ${bundle.id}: ${result.complaint}`);
    const { pid, exitStatus, exitedAt } = decode('containerd.task.v2.DeleteResponse', result.stdout);
    return { pid, exitStatus: exitStatus || KILLED, exitedAt: exitedAt ?? timestampNow() };
  }

  /**
   * What the shim says of itself: an encoded `containerd.types.RuntimeInfo`.
   * @throws what the shim printed, as `unknown`; deadline_exceeded; canceled.
   */
  async info(binary: string, options: Any | null, signal?: AbortSignal): Promise<Buffer> {
    const result = await this.#outcome([binary, '-info'], {
      cwd: '/',
      env: inherited(),
      input: legacyStdin(options),
      timeoutMs: INFO_TIMEOUT_MS,
      signal,
      maxOutput: OUTPUT_LIMIT,
    });
    if (!result.ok) throw new BerthError(result.code, `shim ${binary} -info: ${result.complaint}`);
    return result.stdout;
  }

  /** Our own shim's server can be run without `start`, and we know where it will listen. */
  async #serve(
    binary: string,
    bundle: Bundle,
    group: string,
    options: Any | null,
    signal?: AbortSignal,
  ): Promise<Bootstrap> {
    const { address, socketDir } = this.#around;
    const socket = shimSocketPath(socketDir, address, bundle.namespace, group);
    const bootstrap: Bootstrap = { version: TASK_API_VERSION, address: `unix://${socket}`, protocol: 'ttrpc' };
    if (group !== bundle.id && (await isServed(bootstrap))) return bootstrap;
    const request = {
      argv: [binary, ...this.#flags(bundle), '-socket', socket, 'serve'],
      cwd: bundle.path,
      env: { NAMESPACE: bundle.namespace },
    };
    const cgroup = shimCgroupOf(options);
    await this.#template(binary).serve({ request, cgroup, timeoutMs: START_TIMEOUT_MS, signal });
    return bootstrap;
  }

  #template(binary: string): ShimTemplate {
    const known = this.#templates.get(binary);
    if (known?.isCurrent) return known;
    known?.[Symbol.dispose]();
    const folder = join(this.#around.templateDir, String(this.#templates.size));
    const template = new ShimTemplate(this.#children, { binary, env: this.#environment(binary), folder });
    this.#templates.set(binary, template);
    return template;
  }

  [Symbol.dispose](): void {
    for (const template of this.#templates.values()) template[Symbol.dispose]();
  }

  async #run(
    binary: string,
    bundle: Bundle,
    action: 'start' | 'delete',
    stdin: Uint8Array,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Outcome> {
    const argv = [binary, ...this.#flags(bundle), '-publish-binary', process.execPath];
    if (action === 'delete') argv.push('-bundle', bundle.path);
    argv.push(action);
    const result = await this.#outcome(argv, {
      cwd: bundle.path,
      env: { ...this.#environment(binary), NAMESPACE: bundle.namespace },
      input: stdin,
      timeoutMs,
      signal,
      maxOutput: OUTPUT_LIMIT,
    });
    if (result.ok && result.warnings !== '') {
      this.#around.log.debug({ ns: bundle.namespace, id: bundle.id, action, shim: result.warnings }, 'shim command');
    }
    return result;
  }

  async #outcome(argv: readonly string[], options: RunOptions): Promise<Outcome> {
    try {
      return outcomeOf(await runProgram(this.#children, argv, options), options.timeoutMs);
    } catch (error) {
      return { ok: false, code: 'unknown', complaint: messageOf(error) };
    }
  }

  #flags({ namespace, id }: Bundle): string[] {
    const flags = ['-namespace', namespace, '-address', this.#around.address, '-id', id];
    return this.#around.debug ? [...flags, '-debug'] : flags;
  }

  #environment(binary: string): Record<string, string> {
    return {
      ...inherited(),
      ...addonFor(binary, this.#around.addon),
      GRPC_ADDRESS: this.#around.address,
      TTRPC_ADDRESS: this.#around.ttrpcAddress,
      MAX_SHIM_VERSION: String(TASK_API_VERSION),
      BERTH_SHIM_SOCKET_DIR: this.#around.socketDir,
      GOMAXPROCS: '2',
    };
  }

  #params(bundle: Bundle, options: Any | null): Uint8Array {
    return encode('containerd.runtime.bootstrap.v1.BootstrapParams', {
      instanceId: bundle.id,
      namespace: bundle.namespace,
      logLevel: this.#around.debug ? 'LOG_LEVEL_DEBUG' : 'LOG_LEVEL_INFO',
      containerdTtrpcAddress: this.#around.ttrpcAddress,
      containerdGrpcAddress: this.#around.address,
      containerdBinary: process.execPath,
      extensions: options === null ? [] : [{ value: options }],
      socketDir: this.#around.socketDir,
    });
  }
}

async function isServed(bootstrap: Bootstrap): Promise<boolean> {
  try {
    (await Shim.connect(bootstrap, { timeoutMs: CONNECT_TIMEOUT_MS })).close();
    return true;
  } catch (error) {
    if (isCode(error, 'unavailable')) return false;
    throw error;
  }
}

/** The runtime options as a bare Any: for `-info`, and before containerd 2.3 for `start` too. */
function legacyStdin(options: Any | null): Uint8Array {
  return options === null ? new Uint8Array() : encode('google.protobuf.Any', options);
}

/** All that a shim and the OCI runtime below it need of our environment. */
function inherited(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of ['PATH', 'HOME', 'TMPDIR', 'XDG_RUNTIME_DIR', 'BERTH_NATIVE']) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

/** A copy of our shim that stands alone finds the addon where the installed one has it. */
function addonFor(binary: string, addon: string): Record<string, string> {
  const alone = isOwnShim(binary) && !existsSync(join(dirname(binary), basename(addon)));
  return alone && process.env.BERTH_NATIVE === undefined ? { BERTH_NATIVE: addon } : {};
}

/** What a command printed, or in `complaint` why it is to be taken for failed. */
type Outcome =
  | { readonly ok: true; readonly stdout: Buffer; readonly warnings: string }
  | { readonly ok: false; readonly code: Code; readonly complaint: string };

function outcomeOf({ code, signal, stopped, stdout, stderr }: RunResult, timeoutMs: number): Outcome {
  const said = stderr.toString('utf8').trim();
  if (stopped === undefined && code === 0) return { ok: true, stdout, warnings: said };
  const words = [said, stdout.toString('utf8').trim()].filter(Boolean).join('; ');
  const complaint = (how: string) => (words === '' ? how : `${words}: ${how}`);
  switch (stopped) {
    case 'timeout':
      return { ok: false, code: 'deadline_exceeded', complaint: complaint(`no answer within ${timeoutMs / 1000} s`) };
    case 'aborted':
      return { ok: false, code: 'canceled', complaint: complaint('the call was canceled') };
    default:
      return {
        ok: false,
        code: 'unknown',
        complaint: complaint(signal === null ? `exit status ${code}` : `killed by signal ${signal}`),
      };
  }
}
