import * as grpc from '@grpc/grpc-js';
import { BerthError } from '../errors.ts';
import { codeOfStatus } from '../grpc-status.ts';
import { type TraceHeaders, tracing } from '../tracing/tracing.ts';
import { abortedBidi, abortedItems, type Bidi, BidiCall, streamItems } from './client-streams.ts';
import { metadataKeys } from './context.ts';
import { type ClientTypes, type KindOf, type MethodName, type MethodsOf, methodName } from './method-types.ts';
import { maxMessageBytes } from './options.ts';
import { serviceDefinition } from './proto.ts';

export type { Bidi } from './client-streams.ts';

export interface CallOptions {
  /** Cancels the call; the promise rejects with `canceled`, or with the code of the signal's BerthError reason. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds until the call fails with `deadline_exceeded`. Default: none. */
  readonly timeoutMs?: number | undefined;
  /** containerd namespace; default: the channel's. */
  readonly namespace?: string | undefined;
  readonly lease?: string | undefined;
  /** Wait for a server that isn't there (yet) instead of failing with `unavailable`. */
  readonly waitForReady?: boolean | undefined;
}

/**
 * The client's face of a service; `H` is the generated `XHandlers`, `D` the generated `XDefinition`. Methods have
 * their name on the wire with a small first letter. Whatever fails, fails with a BerthError.
 * A stream starts with the call: iterate it, or cancel it through the signal.
 */
export type Client<H, D> = {
  readonly [K in keyof MethodsOf<H> & keyof D as MethodName<K>]: ClientMethod<KindOf<H[K]>, ClientTypes<D[K]>>;
};

type ClientMethod<Kind, Types> = Types extends {
  req: infer Req;
  res: infer Res;
}
  ? Kind extends 'unary'
    ? (request: Req, options?: CallOptions) => Promise<Res>
    : Kind extends 'serverStream'
      ? (request: Req, options?: CallOptions) => AsyncIterableIterator<Res>
      : (options?: CallOptions) => Bidi<Req, Res>
  : never;

const readyTurnMs = 200;

/** A channel to a unix socket; see {@link Channel}. Connects when first used. */
export function connect(socketPath: string, defaults: Pick<CallOptions, 'namespace'> = {}): Channel {
  return new Channel(socketPath, defaults);
}

/** One connection to one server, shared by the clients of all its services. It reconnects by itself. */
export class Channel {
  readonly socketPath: string;
  readonly #client: grpc.Client;
  readonly #defaults: Pick<CallOptions, 'namespace'>;
  #closed = false;

  constructor(socketPath: string, defaults: Pick<CallOptions, 'namespace'>) {
    this.socketPath = socketPath;
    this.#defaults = defaults;
    this.#client = new grpc.Client(`unix:${socketPath}`, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.max_send_message_length': maxMessageBytes,
      // The peer is on this machine: look again soon after it has restarted.
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  client<H, D>(serviceName: string): Client<H, D> {
    const methods: Record<string, unknown> = {};
    for (const [wireName, method] of Object.entries(serviceDefinition(serviceName))) {
      methods[methodName(wireName)] = this.#method(method);
    }
    return methods as Client<H, D>;
  }

  /** Resolves once connected. @throws BerthError `unavailable` after `ms` milliseconds or when the channel is closed */
  async waitReady(ms: number): Promise<void> {
    const deadline = Date.now() + ms;
    let error: Error | undefined;
    do {
      // In short turns: grpc-js keeps the timer of a wait, and with it the process, also after a close.
      error = await this.#readyBefore(Math.min(deadline, Date.now() + readyTurnMs));
      if (error === undefined) return;
    } while (!this.#closed && Date.now() < deadline);
    throw new BerthError('unavailable', `no server on ${this.socketPath} after ${ms} ms`, { cause: error });
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #readyBefore(deadline: number): Promise<Error | undefined> {
    return new Promise((resolve) => this.#client.waitForReady(deadline, resolve));
  }

  #method(method: Method): unknown {
    if (method.requestStream) return (options?: CallOptions) => this.#bidi(method, options);
    if (method.responseStream)
      return (request: unknown, options?: CallOptions) => this.#serverStream(method, request, options);
    return (request: unknown, options?: CallOptions) => {
      // A wait is no work.
      const traced = method.path.endsWith('/Wait') ? undefined : tracing();
      if (traced === undefined) return this.#unary(method, request, options);
      return traced.called(method.path, (headers) => this.#unary(method, request, options, headers));
    };
  }

  #unary(method: Method, request: unknown, options: CallOptions = {}, headers: TraceHeaders = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) {
        reject(BerthError.from(options.signal.reason));
        return;
      }
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(options, headers),
        callOptions(options),
        (error, response) => {
          options.signal?.removeEventListener('abort', cancel);
          if (error === null) resolve(response);
          else reject(callError(error, options.signal));
        },
      );
      const cancel = () => call.cancel();
      options.signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  #serverStream(method: Method, request: unknown, options: CallOptions = {}): AsyncIterableIterator<unknown> {
    if (options.signal?.aborted) return abortedItems(options.signal);
    const call = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata(options),
      callOptions(options),
    );
    return streamItems(call, options.signal, (error) => callError(error, options.signal));
  }

  #bidi(method: Method, options: CallOptions = {}): Bidi<unknown, unknown> {
    if (options.signal?.aborted) return abortedBidi(options.signal);
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      this.#metadata(options),
      callOptions(options),
    );
    return new BidiCall(call, options.signal, (error) => callError(error, options.signal));
  }

  #metadata(options: CallOptions, headers: TraceHeaders = {}): grpc.Metadata {
    const metadata = new grpc.Metadata({
      waitForReady: options.waitForReady ?? false,
    });
    const namespace = options.namespace ?? this.#defaults.namespace;
    if (namespace !== undefined) metadata.set(metadataKeys.namespace, namespace);
    if (options.lease !== undefined) metadata.set(metadataKeys.lease, options.lease);
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    return metadata;
  }
}

type Method = grpc.MethodDefinition<unknown, unknown>;

function callOptions(options: CallOptions): grpc.CallOptions {
  return options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs };
}

/** What grpc-js says of a call whose HTTP/2 stream was reset with CANCEL: the server has given no status of its own. */
const resetDetails = 'Call cancelled';

/**
 * The BerthError for a failed call. A call that our own signal ended fails with the signal's reason; one that the server
 * broke off, as it does when it stops, is unavailable.
 */
function callError(error: grpc.ServiceError, signal: AbortSignal | undefined): BerthError {
  if (error.code === grpc.status.CANCELLED && signal?.aborted) return BerthError.from(signal.reason);
  if (error.code === grpc.status.CANCELLED && error.details === resetDetails) {
    return new BerthError('unavailable', 'the server has broken off the call: it is stopping', { cause: error });
  }
  return new BerthError(codeOfStatus(error.code), error.details || error.message, { cause: error });
}
