import { isCode } from '#common/errors.ts';
import { tracing } from '#common/tracing/tracing.ts';
import { type CallOptions as ClientOptions, TtrpcClient } from '#common/ttrpc/client.ts';
import { taskMethods } from '#common/ttrpc/task-methods.ts';
import { decode, encode } from '#common/wire/codec.ts';
import type { WireTypes } from '#proto/wire.ts';
import { type Bootstrap, socketPathOf } from './bootstrap.ts';

export type ShimMethod = keyof typeof taskMethods;
export type ShimRequest<M extends ShimMethod> = WireTypes[(typeof taskMethods)[M][0]]['in'];
export type ShimResponse<M extends ShimMethod> = WireTypes[(typeof taskMethods)[M][1]]['out'];

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A connection to one shim's task service. */
export class Shim implements AsyncDisposable {
  readonly #client: TtrpcClient;
  #version: number;
  #closed = false;

  private constructor(client: TtrpcClient, version: number) {
    this.#client = client;
    this.#version = version;
    client.onClose(() => {
      this.#closed = true;
    });
  }

  /** @throws unavailable when nothing serves there; deadline_exceeded. */
  static async connect(bootstrap: Bootstrap, options: CallOptions = {}): Promise<Shim> {
    const signals = [
      options.signal,
      options.timeoutMs === undefined ? undefined : AbortSignal.timeout(options.timeoutMs),
    ];
    const signal = AbortSignal.any(signals.filter((one) => one !== undefined));
    return new Shim(await TtrpcClient.connect(socketPathOf(bootstrap.address), { signal }), bootstrap.version);
  }

  /** Whether the connection is gone: the shim has ended, or we have closed it. */
  get closed(): boolean {
    return this.#closed;
  }

  onClose(callback: () => void): void {
    this.#client.onClose(callback);
  }

  close(): void {
    this.#client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** @throws the shim's own code; unavailable when the connection is or gets closed. */
  async call<M extends ShimMethod>(
    method: M,
    request: ShimRequest<M>,
    options: CallOptions = {},
  ): Promise<ShimResponse<M>> {
    const [requestType, responseType] = taskMethods[method];
    const payload = encode(requestType, request);
    // A wait is no work.
    const traced = method === 'Wait' ? undefined : tracing();
    const answer = await (traced?.called(`${this.#service}/${method}`, (headers) => {
      const metadata = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
      return this.#send(method, payload, { ...options, metadata });
    }) ?? this.#send(method, payload, options));
    return decode(responseType, answer) as ShimResponse<M>;
  }

  get #service(): string {
    return `containerd.task.v${this.#version}.Task`;
  }

  async #send(method: ShimMethod, payload: Uint8Array, options: ClientOptions): Promise<Uint8Array> {
    try {
      return await this.#client.call(this.#service, method, payload, options);
    } catch (error) {
      // A shim that was started by an older release may live on behind a newer executable, which answers for it.
      const first = method === 'Create' || method === 'Connect' || method === 'State';
      if (this.#version < 3 || !first || !isCode(error, 'unimplemented')) throw error;
      this.#version = 2;
      return await this.#client.call(this.#service, method, payload, options);
    }
  }
}
