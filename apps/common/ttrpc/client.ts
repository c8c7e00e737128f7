import { sockets } from '#sockets';
import { BerthError, messageOf } from '../errors.ts';
import { codeOfStatus } from '../grpc-status.ts';
import { decode, encode } from '../wire/codec.ts';
import { encodeFrame, type Frame, FrameReader, frameTypes, maxFrameData } from './frame.ts';
import { type Metadata, metadataPairs } from './metadata.ts';
import type { StreamEvents, StreamSocket } from './socket.ts';

export interface CallOptions {
  /** The call fails with `deadline_exceeded` after it; the server is told. */
  readonly timeoutMs?: number | undefined;
  readonly metadata?: Metadata | undefined;
  /** Stops waiting. ttrpc has no message to cancel a call: the server finishes it. */
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly name: string;
  resolve(payload: Buffer): void;
  reject(error: BerthError): void;
}

const lastStreamId = 0xffff_ffff;

/** One connection to a ttrpc server, for any number of unary calls at a time. It doesn't reconnect. */
export class TtrpcClient implements AsyncDisposable {
  readonly #socket: StreamSocket;
  readonly #path: string;
  readonly #pending = new Map<number, Pending>();
  readonly #closeListeners = new Set<() => void>();
  #nextStreamId = 1;
  #closed = false;

  private constructor(socket: StreamSocket, path: string) {
    this.#socket = socket;
    this.#path = path;
  }

  /** Throws `unavailable` when nobody listens at the path, `canceled` by the signal. */
  static async connect(path: string, { signal }: { signal?: AbortSignal } = {}): Promise<TtrpcClient> {
    if (signal?.aborted) throw BerthError.from(signal.reason, `connect to ${path}`);
    let client: TtrpcClient | undefined;
    const reader = new FrameReader();
    const socket = await sockets
      .connect(path, {
        data: (chunk) => {
          for (const frame of reader.push(chunk)) if (client !== undefined) client.#receive(frame);
        },
        closed: () => {
          if (client !== undefined) client.#shut();
        },
      })
      .catch((cause: unknown) => {
        throw new BerthError('unavailable', `connect to ttrpc socket ${path}: ${messageOf(cause)}`, { cause });
      });
    client = new TtrpcClient(socket, path);
    if (signal?.aborted) {
      client.close();
      throw BerthError.from(signal.reason, `connect to ${path}`);
    }
    return client;
  }

  /**
   * A client on a connection that is there already.
   *
   * @param open gives the connection its listener
   * @param name what errors call it
   */
  static over(open: (events: StreamEvents) => StreamSocket, name: string): TtrpcClient {
    const reader = new FrameReader();
    const client: TtrpcClient = new TtrpcClient(
      open({
        data: (chunk) => {
          for (const frame of reader.push(chunk)) client.#receive(frame);
        },
        closed: () => client.#shut(),
      }),
      name,
    );
    return client;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Calls a method with an encoded message and returns the encoded answer.
   *
   * Throws the status of the server; `unavailable` when the connection is closed before the answer;
   * `deadline_exceeded` after `timeoutMs`; `canceled` by the signal; `resource_exhausted` for a message beyond 4 MiB.
   */
  async call(service: string, method: string, payload: Uint8Array, options: CallOptions = {}): Promise<Uint8Array> {
    const name = `${service}/${method}`;
    const { timeoutMs, metadata, signal } = options;
    if (signal?.aborted) throw BerthError.from(signal.reason, name);
    const request = encode('ttrpc.Request', {
      service,
      method,
      payload,
      timeoutNano: timeoutMs === undefined ? 0 : timeoutMs * 1e6,
      metadata: metadata === undefined ? [] : metadataPairs(metadata),
    });
    if (request.length > maxFrameData) {
      throw new BerthError(
        'resource_exhausted',
        `${name}: request of ${request.length} bytes, at most ${maxFrameData}`,
      );
    }
    if (this.#closed || this.#nextStreamId > lastStreamId) throw this.#unavailable(name);
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      const response = await new Promise<Buffer>((resolve, reject) => {
        this.#pending.set(streamId, { name, resolve, reject });
        if (timeoutMs !== undefined) {
          timer = setTimeout(
            () => reject(new BerthError('deadline_exceeded', `${name}: no answer within ${timeoutMs} ms`)),
            timeoutMs,
          );
        }
        onAbort = (): void => reject(canceled(name, signal?.reason));
        signal?.addEventListener('abort', onAbort);
        this.#socket.write(encodeFrame(streamId, frameTypes.request, request));
      });
      return openResponse(response);
    } finally {
      this.#pending.delete(streamId);
      clearTimeout(timer);
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Calls back once when the connection is gone, whoever closed it; at once if it is gone already. */
  onClose(callback: () => void): void {
    if (this.#closed) callback();
    else this.#closeListeners.add(callback);
  }

  /** Calls under way fail with `unavailable`. */
  close(): void {
    this.#socket.destroy();
    this.#shut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #receive(frame: Frame): void {
    if (frame.type !== frameTypes.response) return;
    const pending = this.#pending.get(frame.streamId);
    if (frame.oversize === undefined) pending?.resolve(frame.data);
    else {
      const message = `${pending?.name}: response of ${frame.oversize} bytes, at most ${maxFrameData}`;
      pending?.reject(new BerthError('resource_exhausted', message));
    }
  }

  #shut(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.destroy();
    for (const { name, reject } of this.#pending.values()) reject(this.#unavailable(name));
    for (const callback of this.#closeListeners) callback();
    this.#closeListeners.clear();
  }

  #unavailable(name: string): BerthError {
    return new BerthError('unavailable', `${name}: ttrpc connection to ${this.#path} is closed`);
  }
}

function canceled(name: string, reason: unknown): BerthError {
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new BerthError('deadline_exceeded', `${name}: ${reason.message}`, { cause: reason });
  }
  return new BerthError('canceled', `${name}: canceled by the caller`, { cause: reason });
}

function openResponse(bytes: Buffer): Buffer {
  const { status, payload } = decode('ttrpc.Response', bytes);
  if (status !== null && status.code !== 0) throw new BerthError(codeOfStatus(status.code), status.message);
  return payload;
}
