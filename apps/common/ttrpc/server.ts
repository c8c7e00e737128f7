import { sockets } from '#sockets';
import { BerthError, messageOf } from '../errors.ts';
import { statusOfCode } from '../grpc-status.ts';
import { decode, encode } from '../wire/codec.ts';
import { encodeFrame, type Frame, FrameReader, frameTypes, maxFrameData } from './frame.ts';
import { type Metadata, metadataFrom } from './metadata.ts';
import type { StreamEvents, StreamListener, StreamSocket } from './socket.ts';

export interface CallContext {
  /** Aborts when the caller's timeout has passed, its connection is gone, or the server closes. */
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
}

/** Takes an encoded request and returns the encoded answer. What it throws becomes the status of the call. */
export type Handler = (payload: Buffer, context: CallContext) => Promise<Uint8Array> | Uint8Array;

interface Connection {
  readonly socket: StreamSocket;
  readonly gone: AbortController;
  lastStreamId: number;
}

/** Serves unary ttrpc calls on a unix socket. */
export class TtrpcServer {
  readonly #handlers = new Map<string, Handler>();
  readonly #connections = new Set<Connection>();
  #listener: StreamListener | undefined;
  /** Calls whose answer is still to be written. */
  #active = 0;
  #onIdle: (() => void) | undefined;
  #onEmpty: (() => void) | undefined;
  readonly #vacated: (() => void) | undefined;

  /** `vacated` is called each time that the last caller has gone. */
  constructor({ vacated }: { vacated?: () => void } = {}) {
    this.#vacated = vacated;
  }

  handle(service: string, method: string, handler: Handler): void {
    this.#handlers.set(`${service}/${method}`, handler);
  }

  /** Listens with mode 0600 from the first moment. Throws `unavailable` when the path can't be bound. */
  async listen(path: string): Promise<void> {
    const mask = process.umask(0o177);
    const listening = sockets.listen(path, (socket) => this.accept(socket));
    process.umask(mask);
    try {
      this.#listener = await listening;
    } catch (cause) {
      throw new BerthError('unavailable', `listen on ttrpc socket ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Callers that are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Takes no further calls, lets those under way answer for `graceMs`, then closes every connection. */
  async close({ graceMs = 0 }: { graceMs?: number } = {}): Promise<void> {
    this.#listener?.close();
    this.#listener = undefined;
    if (graceMs > 0 && this.#active > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, graceMs);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const connection of this.#connections) {
      connection.gone.abort(new BerthError('unavailable', 'the ttrpc server is closing'));
      // Ends rather than destroys: the last answers may still be on their way.
      connection.socket.end();
    }
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#onEmpty = resolve));
  }

  /** Serves one connection; answers its listener. */
  accept(socket: StreamSocket): StreamEvents {
    const connection: Connection = { socket, gone: new AbortController(), lastStreamId: 0 };
    const reader = new FrameReader();
    this.#connections.add(connection);
    return {
      data: (chunk) => {
        for (const frame of reader.push(chunk)) this.#receive(connection, frame);
      },
      closed: () => {
        this.#connections.delete(connection);
        connection.gone.abort(new BerthError('canceled', 'the caller has gone'));
        if (this.#connections.size > 0) return;
        this.#onEmpty?.();
        this.#vacated?.();
      },
    };
  }

  #receive(connection: Connection, frame: Frame): void {
    const objection = objectionTo(frame, connection.lastStreamId);
    if (objection !== undefined) {
      this.#refuse(connection, frame.streamId, objection);
      return;
    }
    // Frame types to come are ignored; data frames have no stream here that could take them.
    if (frame.type !== frameTypes.request) return;
    connection.lastStreamId = frame.streamId;
    this.#active++;
    void this.#answer(connection, frame.streamId, frame.data).finally(() => {
      this.#active--;
      if (this.#active === 0) this.#onIdle?.();
    });
  }

  async #answer(connection: Connection, streamId: number, data: Buffer): Promise<void> {
    try {
      const payload = await this.#call(connection, data);
      const response = encode('ttrpc.Response', { payload });
      if (response.length > maxFrameData) {
        throw new BerthError('resource_exhausted', `response of ${response.length} bytes, at most ${maxFrameData}`);
      }
      send(connection, streamId, response);
    } catch (error) {
      this.#refuse(connection, streamId, BerthError.from(error));
    }
  }

  async #call(connection: Connection, data: Buffer): Promise<Uint8Array> {
    const request = decode('ttrpc.Request', data);
    const name = `${request.service}/${request.method}`;
    const handler = this.#handlers.get(name);
    if (handler === undefined) throw new BerthError('unimplemented', `no method ${name}`);
    const metadata = metadataFrom(request.metadata);
    const timeoutMs = Number(request.timeoutNano) / 1e6;
    if (timeoutMs <= 0) return handler(request.payload, { signal: connection.gone.signal, metadata });
    const context = new TimedContext(connection.gone.signal, metadata);
    return withDeadline(timeoutMs, context, () => handler(request.payload, context));
  }

  #refuse(connection: Connection, streamId: number, error: BerthError): void {
    const status = { code: statusOfCode(error.code), message: error.message };
    send(connection, streamId, encode('ttrpc.Response', { status }));
  }
}

function objectionTo(frame: Frame, lastStreamId: number): BerthError | undefined {
  const { streamId, type, oversize } = frame;
  if (oversize !== undefined) {
    return new BerthError('resource_exhausted', `message of ${oversize} bytes, at most ${maxFrameData}`);
  }
  if (streamId % 2 !== 1) {
    return new BerthError('invalid_argument', `stream id ${streamId} of a client must be odd`);
  }
  if (type === frameTypes.request && streamId <= lastStreamId) {
    return new BerthError('invalid_argument', `stream id ${streamId} after ${lastStreamId}: ids must go up`);
  }
  return undefined;
}

/** Node's timers take no more than this. */
const longestTimer = 2 ** 31 - 1;

/** Of a call with a timeout. Few handlers ask for the signal, and a joined one costs more than the rest of the call. */
class TimedContext implements CallContext {
  readonly metadata: Metadata;
  readonly #gone: AbortSignal;
  readonly #deadline = new AbortController();
  #signal: AbortSignal | undefined;

  constructor(gone: AbortSignal, metadata: Metadata) {
    this.#gone = gone;
    this.metadata = metadata;
  }

  get signal(): AbortSignal {
    this.#signal ??= AbortSignal.any([this.#gone, this.#deadline.signal]);
    return this.#signal;
  }

  expire(error: BerthError): void {
    this.#deadline.abort(error);
  }
}

/** Answers `deadline_exceeded` in time even if the work ignores its signal. */
async function withDeadline<T>(timeoutMs: number, context: TimedContext, work: () => Promise<T> | T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => {
        const error = new BerthError('deadline_exceeded', `no answer within ${Math.round(timeoutMs)} ms`);
        context.expire(error);
        reject(error);
      },
      Math.min(Math.ceil(timeoutMs), longestTimer),
    );
  });
  try {
    return await Promise.race([work(), expired]);
  } finally {
    clearTimeout(timer);
  }
}

function send(connection: Connection, streamId: number, response: Uint8Array): void {
  connection.socket.write(encodeFrame(streamId, frameTypes.response, response));
}
