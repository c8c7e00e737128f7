import { spawn } from 'node:child_process';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { timestampNow } from '#common/timestamp.ts';
import type { Any } from '#common/typeurl.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { type Bootstrap, parseBootstrap, TASK_API_VERSION } from './bootstrap.ts';
import type { Bundle } from './bundle.ts';
import { type Exit, KILLED } from './exit.ts';

/** What every call of a shim's command line has in common. */
export interface ShimSurroundings {
  /** Our gRPC socket. */
  readonly address: string;
  /** The socket that shims forward events to. */
  readonly ttrpcAddress: string;
  /** Folder for shims' sockets. Ours obey; containerd's before 2.3 use /run/containerd/s. */
  readonly socketDir: string;
  readonly debug: boolean;
  readonly log: Logger;
}

const START_TIMEOUT_MS = 30_000;
const DELETE_TIMEOUT_MS = 30_000;
/** How long output may still come in after the command has ended, should a child of its hold the pipe. */
const DRAIN_MS = 200;
const OUTPUT_LIMIT = 1 << 20;
/** What a shim built against containerd 2.3 or newer says when it gets no BootstrapParams. */
const WANTS_PARAMS = /deprecated (bootstrap )?API/;

/** `SHIM … start` and `SHIM … delete`. */
export class ShimCommand {
  readonly #around: ShimSurroundings;
  /** Shims that were found to want BootstrapParams on stdin. */
  readonly #wantParams = new Set<string>();

  constructor(surroundings: ShimSurroundings) {
    this.#around = surroundings;
  }

  /**
   * Starts the bundle's shim. It may be up although this fails: the caller reaps the bundle.
   * Shims older than containerd 2.3 fail when they get BootstrapParams, newer ones when they don't, and neither has
   * started anything by then: the first of a kind is tried both ways.
   * @throws what the shim printed, as `unknown`; deadline_exceeded; canceled.
   */
  async start(binary: string, bundle: Bundle, options: Any | null, signal?: AbortSignal): Promise<Bootstrap> {
    const run = (stdin: Uint8Array) => this.#run(binary, bundle, 'start', stdin, START_TIMEOUT_MS, signal);
    let result = await run(this.#wantParams.has(binary) ? this.#params(bundle, options) : legacyStdin(options));
    if (!result.ok && WANTS_PARAMS.test(result.complaint)) {
      this.#wantParams.add(binary);
      result = await run(this.#params(bundle, options));
    }
    if (!result.ok) throw new BerthError(result.code, `shim ${binary} for task ${bundle.id}: ${result.complaint}`);
    if (result.stderr !== '')
      this.#around.log.warn({ ns: bundle.namespace, id: bundle.id, shim: result.stderr }, 'shim start');
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
    if (result.stderr !== '')
      this.#around.log.warn({ ns: bundle.namespace, id: bundle.id, shim: result.stderr }, 'shim delete');
    const { pid, exitStatus, exitedAt } = decode('containerd.task.v2.DeleteResponse', result.stdout);
    return { pid, exitStatus: exitStatus || KILLED, exitedAt: exitedAt ?? timestampNow() };
  }

  #run(
    binary: string,
    bundle: Bundle,
    action: 'start' | 'delete',
    stdin: Uint8Array,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<CommandResult> {
    const { address, ttrpcAddress, socketDir, debug } = this.#around;
    const args = [
      '-namespace',
      bundle.namespace,
      '-address',
      address,
      '-publish-binary',
      process.execPath,
      '-id',
      bundle.id,
    ];
    if (action === 'delete') args.push('-bundle', bundle.path);
    if (debug) args.push('-debug');
    args.push(action);
    return runCommand(binary, args, {
      cwd: bundle.path,
      env: {
        ...inherited(),
        NAMESPACE: bundle.namespace,
        GRPC_ADDRESS: address,
        TTRPC_ADDRESS: ttrpcAddress,
        MAX_SHIM_VERSION: String(TASK_API_VERSION),
        BERTH_SHIM_SOCKET_DIR: socketDir,
        GOMAXPROCS: '2',
      },
      stdin,
      timeoutMs,
      signal,
    });
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

/** Before containerd 2.3: the runtime options as a bare Any. */
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

type CommandResult =
  | { readonly ok: true; readonly stdout: Buffer; readonly stderr: string }
  | { readonly ok: false; readonly code: 'unknown' | 'deadline_exceeded' | 'canceled'; readonly complaint: string };

interface CommandOptions {
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Runs the command in a process group of its own; a timeout or abort kills it. stdout and stderr are kept apart. */
function runCommand(binary: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { promise, resolve } = Promise.withResolvers<CommandResult>();
  const hasInput = options.stdin.length > 0;
  const child = spawn(binary, args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let stopped: 'deadline_exceeded' | 'canceled' | undefined;
  const stop = (why: 'deadline_exceeded' | 'canceled') => {
    stopped ??= why;
    child.kill('SIGKILL');
  };
  const timer = setTimeout(stop, options.timeoutMs, 'deadline_exceeded');
  const onAbort = () => stop('canceled');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();

  const end = (result: CommandResult) => {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
    child.stdout?.destroy();
    child.stderr?.destroy();
    resolve(result);
  };
  const ended = (code: number | null, signal: NodeJS.Signals | null) => {
    const said = stderr().toString('utf8').trim();
    if (stopped !== undefined) {
      const reason =
        stopped === 'canceled' ? 'the call was canceled' : `no answer within ${options.timeoutMs / 1000} s`;
      end({ ok: false, code: stopped, complaint: said === '' ? reason : `${reason}: ${said}` });
    } else if (code === 0) {
      end({ ok: true, stdout: stdout(), stderr: said });
    } else {
      const how = signal === null ? `exit status ${code}` : `killed by ${signal}`;
      const text = [said, stdout().toString('utf8').trim()].filter(Boolean).join('; ');
      end({ ok: false, code: 'unknown', complaint: text === '' ? how : `${text}: ${how}` });
    }
  };
  child.on('error', (error) => end({ ok: false, code: 'unknown', complaint: error.message }));
  child.on('close', ended);
  child.on('exit', (code, signal) => setTimeout(ended, DRAIN_MS, code, signal).unref());
  if (hasInput && child.stdin !== null) {
    // A shim that has no use for its stdin may be gone before it is written.
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin);
  }
  return promise;
}

function collect(stream: NodeJS.ReadableStream | null): () => Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= OUTPUT_LIMIT) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks);
}
