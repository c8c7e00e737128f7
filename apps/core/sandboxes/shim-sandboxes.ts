import { BerthError, isCode } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import { KeyedQueue } from '#common/keyed-queue.ts';
import type { Logger } from '#common/log.ts';
import type { Any } from '#common/typeurl.ts';
import type { Mount } from '#proto/containerd/types/Mount.ts';
import type { EventPublisher } from '../events/events.ts';
import { toAny } from '../metadata/typed-bytes.ts';
import type { Bootstrap } from '../tasks/bootstrap.ts';
import { Bundle } from '../tasks/bundle.ts';
import { findBundles } from '../tasks/recovery.ts';
import type { RuntimeNames } from '../tasks/runtime-name.ts';
import { isOwnShim, type ShimCommand } from '../tasks/shim-command.ts';
import { ShimLog } from '../tasks/shim-log.ts';
import type { ShimReaper } from '../tasks/shim-reaper.ts';
import { SandboxShim } from './sandbox-shim.ts';
import type { SandboxInput, SandboxStore } from './store.ts';

/** What a client says about the sandbox it wants, beside its record. */
export interface SandboxRequest {
  readonly rootfs: readonly Mount[];
  readonly options: Any | null;
  readonly netnsPath: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ShimSandboxesOptions {
  /** Folder of the sandboxes' bundles. */
  readonly sandboxesDir: string;
  readonly records: Pick<SandboxStore, 'get'>;
  readonly events: EventPublisher;
  readonly runtimes: RuntimeNames;
  readonly command: ShimCommand;
  readonly reaper: ShimReaper;
  readonly log: Logger;
}

interface Running {
  readonly bundle: Bundle;
  readonly shimBinary: string;
  readonly shim: SandboxShim;
  readonly shimLog: ShimLog;
  /** Its connection may break now: it is being shut down, or the daemon lets go of it. */
  ending: boolean;
}

const CONNECT_MS = 10_000;
const SHUTDOWN_MS = 5000;
/** Task APIs from this version on serve several tasks beside their sandbox (containerd, core/runtime/v2). */
const GROUPING_VERSION = 3;

/**
 * Sandboxes that shims run which serve the sandbox API: containerd's controller `shim`. One that isn't known here has
 * ended; the record in the store is the client's to delete.
 */
export class ShimSandboxes {
  readonly #options: ShimSandboxesOptions;
  readonly #running = new Map<string, Running>();
  readonly #queue = new KeyedQueue();
  readonly #stopping = new AbortController();

  constructor(options: ShimSandboxesOptions) {
    this.#options = options;
  }

  /** Finds the sandboxes of an earlier daemon again, and clears away those whose shims have ended. */
  async recover(): Promise<void> {
    const bundles = await findBundles(this.#options.sandboxesDir);
    await Promise.all(bundles.map((bundle) => this.#recover(bundle)));
  }

  /**
   * Starts a shim and has it create the sandbox. Nothing is left on failure.
   * @throws already_exists; invalid_argument; unimplemented for a shim without the sandbox API; what the shim says.
   */
  async create(namespace: string, sandbox: SandboxInput, request: SandboxRequest, signal: AbortSignal): Promise<void> {
    validateIdentifier(sandbox.id, 'sandbox id');
    const key = keyOf(namespace, sandbox.id);
    await this.#queue.run(key, () => this.#create(namespace, sandbox, request, signal), { signal });
  }

  /** Clears the sandbox away when it can't be started. @throws not_found; what the shim says. */
  async start(namespace: string, id: string, signal: AbortSignal) {
    const running = this.#find(namespace, id);
    try {
      return await running.shim.call('StartSandbox', { sandboxId: id }, { signal });
    } catch (error) {
      await this.#queue.run(keyOf(namespace, id), () => this.#end(running));
      throw BerthError.from(error, `failed to start sandbox ${id}`);
    }
  }

  /** @throws not_found; what the shim says. */
  async platform(namespace: string, id: string, signal: AbortSignal) {
    return await this.#find(namespace, id).shim.call('Platform', { sandboxId: id }, { signal });
  }

  /** One that has ended already is stopped. @throws what the shim says. */
  async stop(namespace: string, id: string, timeoutSecs: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#find(namespace, id).shim.call('StopSandbox', { sandboxId: id, timeoutSecs }, { signal });
    } catch (error) {
      if (!isCode(error, 'not_found', 'unavailable')) throw BerthError.from(error, `failed to stop sandbox ${id}`);
    }
  }

  /** Settles when the sandbox has ended. @throws not_found; unavailable when its shim dies meanwhile. */
  async wait(namespace: string, id: string, signal: AbortSignal) {
    const either = AbortSignal.any([signal, this.#stopping.signal]);
    return await this.#find(namespace, id).shim.call('WaitSandbox', { sandboxId: id }, { signal: either });
  }

  /** @throws not_found; what the shim says. */
  async status(namespace: string, id: string, verbose: boolean, signal: AbortSignal) {
    return await this.#find(namespace, id).shim.call('SandboxStatus', { sandboxId: id, verbose }, { signal });
  }

  /** @throws not_found; what the shim says. */
  async metrics(namespace: string, id: string, signal: AbortSignal) {
    return await this.#find(namespace, id).shim.call('SandboxMetrics', { sandboxId: id }, { signal });
  }

  /** Ends the shim and clears up behind it. @throws not_found; what the shim says: the sandbox is still there then. */
  async shutdown(namespace: string, id: string): Promise<void> {
    await this.#queue.run(keyOf(namespace, id), async () => {
      const running = this.#find(namespace, id);
      running.ending = true;
      try {
        await running.shim.call('ShutdownSandbox', { sandboxId: id }, { timeoutMs: SHUTDOWN_MS });
      } catch (error) {
        if (!running.shim.closed) {
          running.ending = false;
          throw BerthError.from(error, `failed to shut down sandbox ${id}`);
        }
      }
      await this.#clear(running);
    });
  }

  /**
   * Where the tasks of a sandbox are served; undefined when each is to have a shim of its own, because the sandbox isn't
   * known, or is of a shim that can't group tasks.
   * @throws not_found for a sandbox that isn't running.
   */
  endpointOf(namespace: string, id: string): Bootstrap | undefined {
    try {
      this.#options.records.get(namespace, id);
    } catch (error) {
      if (isCode(error, 'not_found')) return undefined;
      throw error;
    }
    const { bootstrap } = this.#find(namespace, id).shim;
    return bootstrap.version >= GROUPING_VERSION ? bootstrap : undefined;
  }

  /** Ends all waiting with `reason`, so that the API can be closed. */
  beginStop(reason: BerthError): void {
    this.#stopping.abort(reason);
  }

  /** Lets go of every shim; they and their sandboxes go on. */
  close(): void {
    for (const running of this.#running.values()) {
      running.ending = true;
      running.shim.close();
      running.shimLog.close();
    }
    this.#running.clear();
  }

  async #create(namespace: string, sandbox: SandboxInput, request: SandboxRequest, signal: AbortSignal): Promise<void> {
    const { runtimes, command, sandboxesDir } = this.#options;
    const { id, runtime, spec } = sandbox;
    if (this.#running.has(keyOf(namespace, id))) {
      throw new BerthError('already_exists', `sandbox ${id} is already running`);
    }
    const shimBinary = runtimes.resolve(runtime.name);
    if (isOwnShim(shimBinary)) {
      throw new BerthError(
        'unimplemented',
        `sandbox ${id}: the shim of ${runtime.name} does not serve the sandbox API`,
      );
    }
    const bundle = new Bundle(sandboxesDir, namespace, id);
    await this.#makeBundle(bundle, spec?.value ?? Buffer.from('{}'), shimBinary);

    await using undo = new AsyncDisposableStack();
    undo.defer(async () => void (await this.#clearBundle(bundle, shimBinary)));
    const shimLog = new ShimLog(bundle.logFifo, this.#logOf(bundle));
    undo.defer(() => shimLog.close());
    const options = runtime.options === undefined ? null : toAny(runtime.options);
    const bootstrap = await command.start(shimBinary, bundle, id, options, signal);
    bundle.recordBootstrap(bootstrap);
    const shim = await SandboxShim.connect(bootstrap, CONNECT_MS, signal);
    undo.defer(() => shim.close());
    const { rootfs, netnsPath, annotations } = request;
    const wanted = { sandboxId: id, bundlePath: bundle.path, rootfs: [...rootfs], options: request.options, netnsPath };
    try {
      await shim.call('CreateSandbox', { ...wanted, annotations: { ...annotations } }, { signal });
    } catch (error) {
      await shim.call('ShutdownSandbox', { sandboxId: id }, { timeoutMs: SHUTDOWN_MS }).catch(() => undefined);
      throw BerthError.from(error, `failed to create sandbox ${id}`);
    }
    bundle.recordCreated();
    undo.move();
    this.#adopt({ bundle, shimBinary, shim, shimLog, ending: false });
  }

  /** Removes first what an earlier failure may have left under that name. */
  async #makeBundle(bundle: Bundle, spec: Uint8Array, shimBinary: string): Promise<void> {
    try {
      bundle.create(spec, shimBinary);
    } catch (error) {
      if (!isCode(error, 'already_exists')) throw error;
      await this.#clearBundle(bundle, (await bundle.facts()).shimBinary ?? '');
      bundle.create(spec, shimBinary);
    }
  }

  #adopt(running: Running): void {
    const { bundle, shim } = running;
    this.#running.set(keyOf(bundle.namespace, bundle.id), running);
    shim.onClose(() => void this.#lost(running));
  }

  /** @throws not_found */
  #find(namespace: string, id: string): Running {
    const running = this.#running.get(keyOf(namespace, id));
    if (running !== undefined && !running.shim.closed) return running;
    throw new BerthError('not_found', `unable to find sandbox "${id}": no shim runs it`);
  }

  /** Ends a sandbox however its shim takes it. */
  async #end(running: Running): Promise<void> {
    const { bundle, shim } = running;
    if (running.ending) return;
    running.ending = true;
    try {
      await shim.call('ShutdownSandbox', { sandboxId: bundle.id }, { timeoutMs: SHUTDOWN_MS });
    } catch (error) {
      this.#logOf(bundle).warn({ err: error }, 'failed to shut down a sandbox');
    }
    await this.#clear(running);
  }

  /** Gives a shim that was told to end the time to do so, and clears away what is left. */
  async #clear(running: Running): Promise<void> {
    const { bundle, shim, shimBinary, shimLog } = running;
    await shim.gone(SHUTDOWN_MS);
    shim.close();
    await this.#clearBundle(bundle, shimBinary);
    shimLog.close();
    this.#running.delete(keyOf(bundle.namespace, bundle.id));
  }

  /** Its shim has died on us. Clients hear of it as of a task that ends, as containerd tells it. */
  async #lost(running: Running): Promise<void> {
    const { bundle, shimBinary, shimLog } = running;
    const { namespace, id } = bundle;
    if (running.ending) return;
    running.ending = true;
    const log = this.#logOf(bundle);
    log.warn('shim of a sandbox has died; clearing up behind it');
    try {
      await this.#queue.run(keyOf(namespace, id), async () => {
        const exit = await this.#clearBundle(bundle, shimBinary);
        shimLog.close();
        this.#running.delete(keyOf(namespace, id));
        const told = { containerId: id, id, ...exit };
        this.#options.events.publishTyped(namespace, '/tasks/exit', 'containerd.events.TaskExit', told);
        this.#options.events.publishTyped(namespace, '/tasks/delete', 'containerd.events.TaskDelete', told);
      });
    } catch (error) {
      log.error({ err: error }, 'clearing up behind a sandbox');
    }
  }

  async #recover(bundle: Bundle): Promise<void> {
    const log = this.#logOf(bundle);
    try {
      const facts = await bundle.facts();
      const shim = await SandboxShim.reconnect(facts);
      if (shim === undefined) {
        await this.#clearBundle(bundle, facts.shimBinary ?? '');
        log.info('removed what an ended sandbox left');
        return;
      }
      const shimLog = new ShimLog(bundle.logFifo, log);
      this.#adopt({ bundle, shimBinary: facts.shimBinary ?? '', shim, shimLog, ending: false });
    } catch (error) {
      log.error({ err: error }, 'recovering a sandbox');
    }
  }

  async #clearBundle(bundle: Bundle, shimBinary: string) {
    const { reaper } = this.#options;
    await reaper.killServers(bundle, shimBinary);
    const exit = await reaper.clear(bundle, shimBinary);
    await bundle.remove();
    return exit;
  }

  #logOf(bundle: Bundle): Logger {
    return this.#options.log.child({ ns: bundle.namespace, sandbox: bundle.id });
  }
}

function keyOf(namespace: string, id: string): string {
  return `${namespace}/${id}`;
}
