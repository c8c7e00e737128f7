import { once } from 'node:events';
import { TtrpcClient } from '#common/ttrpc/client.ts';
import { decode, encode, type MessageName } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import { type Bootstrap, socketPathOf } from '../tasks/bootstrap.ts';
import type { BundleFacts } from '../tasks/bundle.ts';

const RECONNECT_MS = 2000;

const service = 'containerd.runtime.sandbox.v1.Sandbox';

/** The methods of `containerd.runtime.sandbox.v1.Sandbox` that are called here, with their messages. */
const methods = {
  CreateSandbox: [
    'containerd.runtime.sandbox.v1.CreateSandboxRequest',
    'containerd.runtime.sandbox.v1.CreateSandboxResponse',
  ],
  StartSandbox: [
    'containerd.runtime.sandbox.v1.StartSandboxRequest',
    'containerd.runtime.sandbox.v1.StartSandboxResponse',
  ],
  Platform: ['containerd.runtime.sandbox.v1.PlatformRequest', 'containerd.runtime.sandbox.v1.PlatformResponse'],
  StopSandbox: [
    'containerd.runtime.sandbox.v1.StopSandboxRequest',
    'containerd.runtime.sandbox.v1.StopSandboxResponse',
  ],
  WaitSandbox: [
    'containerd.runtime.sandbox.v1.WaitSandboxRequest',
    'containerd.runtime.sandbox.v1.WaitSandboxResponse',
  ],
  SandboxStatus: [
    'containerd.runtime.sandbox.v1.SandboxStatusRequest',
    'containerd.runtime.sandbox.v1.SandboxStatusResponse',
  ],
  ShutdownSandbox: [
    'containerd.runtime.sandbox.v1.ShutdownSandboxRequest',
    'containerd.runtime.sandbox.v1.ShutdownSandboxResponse',
  ],
  SandboxMetrics: [
    'containerd.runtime.sandbox.v1.SandboxMetricsRequest',
    'containerd.runtime.sandbox.v1.SandboxMetricsResponse',
  ],
} as const satisfies Record<string, readonly [MessageName, MessageName]>;

type Method = keyof typeof methods;
type Request<M extends Method> = WireTypes[(typeof methods)[M][0]]['in'];
type Response<M extends Method> = WireTypes[(typeof methods)[M][1]]['out'];

interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A connection to the sandbox service of one shim. */
export class SandboxShim {
  readonly bootstrap: Bootstrap;
  readonly #client: TtrpcClient;

  private constructor(bootstrap: Bootstrap, client: TtrpcClient) {
    this.bootstrap = bootstrap;
    this.#client = client;
  }

  /** @throws unavailable when nothing serves there; deadline_exceeded; canceled. */
  static async connect(bootstrap: Bootstrap, timeoutMs: number, signal?: AbortSignal): Promise<SandboxShim> {
    const timeout = AbortSignal.timeout(timeoutMs);
    const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    return new SandboxShim(bootstrap, await TtrpcClient.connect(socketPathOf(bootstrap.address), { signal: either }));
  }

  /** undefined for a sandbox that was never acknowledged, or whose shim is gone. */
  static async reconnect({ created, bootstrap }: BundleFacts): Promise<SandboxShim | undefined> {
    if (!created || bootstrap === undefined) return undefined;
    try {
      return await SandboxShim.connect(bootstrap, RECONNECT_MS);
    } catch {
      return undefined;
    }
  }

  /** Whether the connection is gone: the shim has ended, or we have closed it. */
  get closed(): boolean {
    return this.#client.closed;
  }

  onClose(callback: () => void): void {
    this.#client.onClose(callback);
  }

  /** Settles when the connection is gone, or the time is over. */
  async gone(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.onClose(resolve);
    await Promise.race([promise, once(AbortSignal.timeout(timeoutMs), 'abort')]);
  }

  close(): void {
    this.#client.close();
  }

  /** @throws the shim's own code, unimplemented from one without this service; unavailable when the connection breaks. */
  async call<M extends Method>(method: M, request: Request<M>, options: CallOptions = {}): Promise<Response<M>> {
    const [requestType, responseType] = methods[method];
    const answer = await this.#client.call(service, method, encode(requestType, request), options);
    return decode(responseType, answer) as Response<M>;
  }
}
