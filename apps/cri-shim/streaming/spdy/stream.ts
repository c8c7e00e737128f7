import { Duplex } from 'node:stream';
import type { Headers } from './header-codec.ts';

/** What a stream needs of its session. */
export interface StreamHost {
  /** Sends payload; calls back once the next may come. */
  send(stream: SpdyStream, bytes: Buffer, done: (error?: Error | null) => void): void;
  sendEnd(stream: SpdyStream, done: (error?: Error | null) => void): void;
  /** The stream's user has taken this much, and has room or not. */
  taken(stream: SpdyStream): void;
  destroyed(stream: SpdyStream, error: Error | null): void;
}

/** One stream of a session. Each direction ends by itself; destroying it resets it and touches no other. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  /** Bytes that the peer lets us send; counts only for a peer that updates windows. */
  sendWindow: number;
  /** Bytes that were handed on and not yet told of to the peer. */
  unacknowledged = 0;
  /** The peer has ended its direction. */
  remoteEnded = false;
  readonly #host: StreamHost;

  constructor(id: number, headers: Headers, sendWindow: number, host: StreamHost) {
    super({ allowHalfOpen: true, readableHighWaterMark: 64 * 1024, writableHighWaterMark: 64 * 1024 });
    this.id = id;
    this.headers = headers;
    this.sendWindow = sendWindow;
    this.#host = host;
    // Whoever uses the stream may listen, too; a reset that nobody waits for is none of the session's business.
    this.on('error', () => undefined);
  }

  override _read(): void {
    this.#host.taken(this);
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#host.send(this, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#host.sendEnd(this, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#host.destroyed(this, error);
    done(error);
  }
}
