import type { Http2Server, ServerHttp2Session } from 'node:http2';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { BerthError } from '../errors.ts';
import type { Service } from './adapter.ts';
import { maxMessageBytes } from './options.ts';
import { bindSocket } from './socket.ts';

/** Serves gRPC on a unix socket. Services are added first; listening comes after. */
export class GrpcServer {
  readonly #server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    // Local clients may hold idle connections and ping as they like.
    'grpc.keepalive_permit_without_calls': 1,
  });
  #socket: AsyncDisposable | undefined;

  constructor() {
    amendOptions(this.#server);
  }

  add(service: Service): this {
    this.#server.addService(service.definition, service.handlers);
    return this;
  }

  /**
   * Listens on `path`, whose directory is made when absent.
   * @throws BerthError `already_exists` when a live process serves the socket, or by errno
   */
  async listen(path: string, options: { readonly mode?: number } = {}): Promise<void> {
    this.#socket = await bindSocket(path, options.mode ?? 0o600, (temporary) => this.#bind(temporary));
  }

  /** Takes no new calls, waits up to `graceMs` for running ones, then cuts them off. Removes the socket. */
  async close(graceMs: number): Promise<void> {
    await this.#socket?.[Symbol.asyncDispose]();
    this.#socket = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#server.forceShutdown();
      // A client that is stopped doesn't close its end, which tryShutdown waits for even then.
      resolve();
    }, graceMs);
    this.#server.tryShutdown(() => resolve());
    await promise;
    clearTimeout(timer);
  }

  async #bind(path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    widenConnections(this.#server);
  }
}

/**
 * Bytes that a client may send before it hears that they were read, per call and per connection. With HTTP/2's own 64 KiB
 * a message of Content.Write would wait for that dozens of times.
 */
const callWindow = 1 << 20;
const connectionWindow = 4 << 20;

/**
 * What grpc-js has no options for, set in those that it hands to node:http2.
 *
 * Node ends a connection on which streams are reset more often than 33 times a second, after the first 1000: a guard
 * against strangers on the internet. containerd's client reads a blob by thousands of short calls, and cancels each once
 * it has its bytes.
 */
function amendOptions(server: Server): void {
  const options: unknown = Reflect.get(server, 'commonServerOptions');
  if (typeof options !== 'object' || options === null) {
    throw new BerthError('internal', 'this version of grpc-js keeps its options for node:http2 elsewhere');
  }
  const settings = { initialWindowSize: callWindow };
  Object.assign(options, { streamResetBurst: 1_000_000, streamResetRate: 1_000_000, settings });
}

/** As {@link amendOptions}, for what is no option of node:http2's but set on each connection. */
function widenConnections(server: Server): void {
  const servers: unknown = Reflect.get(server, 'http2Servers');
  if (!(servers instanceof Map)) {
    throw new BerthError('internal', 'this version of grpc-js keeps its servers of node:http2 elsewhere');
  }
  for (const each of servers.keys()) {
    (each as Http2Server).on('session', (session: ServerHttp2Session) => session.setLocalWindowSize(connectionWindow));
  }
}
