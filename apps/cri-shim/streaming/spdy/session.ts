import type { Duplex } from 'node:stream';
import { BerthError } from '#common/errors.ts';
import { controlFrame, dataHeader, FLAG_FIN, FrameParser, RST, TYPE } from './frames.ts';
import { HeaderCodec, type Headers } from './header-codec.ts';
import { SpdyStream, type StreamHost } from './stream.ts';

export interface SessionOptions {
  /** Says whether a new stream is welcome: one for which it throws is reset, the session goes on. */
  readonly onStream: (stream: SpdyStream) => void;
  /** Without a frame in either direction for this long the session ends; milliseconds. */
  readonly idleMs: number;
}

const WINDOW = 64 * 1024;
const MAX_WINDOW = 0x7fffffff;
/** Consumed bytes after which the peer is told. */
const UPDATE = WINDOW / 2;
/** Open streams at most; what is beyond is refused. */
const MAX_STREAMS = 4096;
/** Control frames that wait for a peer which doesn't read, at most: it asked for them. */
const MAX_UNSENT = 16_384;
const SETTINGS_INITIAL_WINDOW_SIZE = 7;

/**
 * The server's side of a SPDY/3.1 connection, as Kubernetes uses it: the client opens all streams.
 *
 * Flow control: the peer's windows are respected once it has updated one, or set their size. Kubernetes' own client
 * (moby/spdystream) does neither, nor does it heed ours: its streams are held up by the connection itself, which isn't
 * read while one of them has more than its reader takes. Memory is bounded either way.
 */
export class SpdySession implements StreamHost {
  readonly #socket: Duplex;
  readonly #options: SessionOptions;
  readonly #codec = new HeaderCodec();
  readonly #streams = new Map<number, SpdyStream>();
  /** Streams whose reader is behind: the connection isn't read meanwhile. */
  readonly #full = new Set<SpdyStream>();
  /** Streams that wait for a window. */
  readonly #starved = new Map<SpdyStream, () => void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #idle: NodeJS.Timeout;
  #heedsWindows = false;
  #initialWindow = WINDOW;
  #lastId = 0;
  #unsent = 0;
  #closed = false;
  /** Header blocks are inflated elsewhere: what follows them waits. */
  #deferred: (() => void)[] | undefined;

  constructor(socket: Duplex, options: SessionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#idle = setTimeout(() => this.close(), options.idleMs);
    const parser = new FrameParser({
      control: (type, flags, payload) => this.#inOrder(() => this.#control(type, flags, payload)),
      data: (id, bytes, fin) => this.#inOrder(() => this.#data(id, bytes, fin)),
    });
    socket.on('data', (chunk: Buffer) => {
      this.#idle.refresh();
      try {
        parser.push(chunk);
      } catch (error) {
        this.#fail(error);
      }
    });
    socket.on('end', () => this.close());
    socket.on('error', () => this.close());
    socket.on('close', () => this.close());
  }

  /** Resolves when the connection is over. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Ends the connection after what has been written; streams that are open are cut off. */
  close(): void {
    if (this.#closed) return;
    this.#shut();
    this.#socket.end();
    this.#socket.resume();
    setTimeout(() => this.#socket.destroy(), 1000).unref();
  }

  /** Tells the peer that no more streams are taken, and ends the connection. */
  goAway(): void {
    this.#write(controlFrame(TYPE.GOAWAY, 0, this.#lastId, 0));
    this.close();
  }

  send(stream: SpdyStream, bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.#closed) {
      done(new BerthError('unavailable', 'the connection is closed'));
      return;
    }
    if (bytes.length === 0) {
      done();
      return;
    }
    const room = this.#heedsWindows ? Math.max(0, stream.sendWindow) : bytes.length;
    if (room === 0) {
      this.#starved.set(stream, () => this.send(stream, bytes, done));
      return;
    }
    const part = bytes.subarray(0, Math.min(room, 0xffffff));
    stream.sendWindow -= part.length;
    this.#idle.refresh();
    this.#socket.cork();
    this.#socket.write(dataHeader(stream.id, part.length, false));
    const next = part.length === bytes.length ? done : () => this.send(stream, bytes.subarray(part.length), done);
    this.#socket.write(part, (error) => (error ? done(error) : next()));
    this.#socket.uncork();
  }

  sendEnd(stream: SpdyStream, done: (error?: Error | null) => void): void {
    this.#write(dataHeader(stream.id, 0, true));
    done();
  }

  taken(stream: SpdyStream): void {
    if (stream.unacknowledged >= UPDATE && !stream.remoteEnded) {
      this.#write(controlFrame(TYPE.WINDOW_UPDATE, 0, stream.id, stream.unacknowledged));
      stream.unacknowledged = 0;
    }
    if (this.#full.delete(stream) && this.#full.size === 0) this.#socket.resume();
  }

  destroyed(stream: SpdyStream, error: Error | null): void {
    const over = stream.remoteEnded && stream.writableFinished;
    const isKnown = this.#streams.delete(stream.id);
    this.#starved.delete(stream);
    if (this.#full.delete(stream) && this.#full.size === 0) this.#socket.resume();
    if (isKnown && !over) this.#reset(stream.id, error === null ? RST.CANCEL : RST.INTERNAL_ERROR);
  }

  #inOrder(step: () => Promise<void> | undefined): void {
    if (this.#closed) return;
    if (this.#deferred !== undefined) {
      this.#deferred.push(() => this.#run(step));
      return;
    }
    this.#run(step);
  }

  #run(step: () => Promise<void> | undefined): void {
    try {
      const pending = step();
      if (pending === undefined) return;
      this.#deferred ??= [];
      this.#socket.pause();
      pending.then(
        () => this.#catchUp(),
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Goes on after a header block: with what waits, up to the next one. */
  #catchUp(): void {
    const waiting = this.#deferred ?? [];
    this.#deferred = undefined;
    while (waiting.length > 0 && this.#deferred === undefined && !this.#closed) waiting.shift()?.();
    if (waiting.length > 0) {
      this.#deferred = [...(this.#deferred ?? []), ...waiting];
    } else if (this.#full.size === 0 && this.#deferred === undefined) this.#socket.resume();
  }

  #control(type: number, flags: number, payload: Buffer): Promise<void> | undefined {
    switch (type) {
      case TYPE.SYN_STREAM:
        return this.#synStream(flags, payload);
      case TYPE.SYN_REPLY:
      case TYPE.HEADERS:
        // The blocks must be inflated: the compression goes on from them.
        need(payload, 4, type);
        return this.#codec.decode(payload.subarray(4)).then(() => this.#fin(payload.readUInt32BE(0), flags));
      case TYPE.RST_STREAM:
        need(payload, 8, type);
        this.#rstStream(this.#streams.get(payload.readUInt32BE(0) & MAX_WINDOW));
        return undefined;
      case TYPE.SETTINGS:
        this.#settings(payload);
        return undefined;
      case TYPE.PING:
        need(payload, 4, type);
        // Odd numbers are the client's: it wants an answer. Ours aren't answered.
        if (payload.readUInt32BE(0) % 2 === 1) this.#write(controlFrame(TYPE.PING, 0, payload.readUInt32BE(0)));
        return undefined;
      case TYPE.WINDOW_UPDATE:
        need(payload, 8, type);
        this.#windowUpdate(payload.readUInt32BE(0) & MAX_WINDOW, payload.readUInt32BE(4) & MAX_WINDOW);
        return undefined;
      default:
        // GOAWAY: the client opens no more streams; those that are open go on. Unknown types are to be ignored (2.2.1).
        return undefined;
    }
  }

  /** What came before the peer's end of the stream is still good: it only wants nothing more. */
  #rstStream(stream: SpdyStream | undefined): void {
    if (stream === undefined) return;
    if (stream.remoteEnded) {
      stream.end();
      return;
    }
    // Forgotten first: a reset is never answered with one (2.4.2).
    this.#streams.delete(stream.id);
    stream.destroy(streamReset());
  }

  #synStream(flags: number, payload: Buffer): Promise<void> {
    need(payload, 10, TYPE.SYN_STREAM);
    const id = payload.readUInt32BE(0) & MAX_WINDOW;
    return this.#codec.decode(payload.subarray(10)).then((headers) => {
      if (this.#closed) return;
      if (id % 2 === 0 || id <= this.#lastId) {
        throw new BerthError('invalid_argument', `stream ${id} comes after ${this.#lastId}`);
      }
      this.#lastId = id;
      if (this.#streams.size >= MAX_STREAMS) return this.#reset(id, RST.REFUSED_STREAM);
      this.#open(id, headers, flags);
    });
  }

  #open(id: number, headers: Headers, flags: number): void {
    const stream = new SpdyStream(id, headers, this.#initialWindow, this);
    this.#streams.set(id, stream);
    try {
      this.#options.onStream(stream);
    } catch (error) {
      stream.destroy(BerthError.from(error));
      return;
    }
    this.#write(controlFrame(TYPE.SYN_REPLY, 0, id, this.#codec.encodeNone()));
    this.#fin(id, flags);
  }

  #data(id: number, bytes: Buffer, fin: boolean): undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.remoteEnded) {
      if (id > this.#lastId) throw new BerthError('invalid_argument', `data for stream ${id}, which was never opened`);
      return;
    }
    stream.unacknowledged += bytes.length;
    if (bytes.length > 0 && !stream.push(bytes)) {
      this.#full.add(stream);
      this.#socket.pause();
    }
    if (fin) this.#fin(id, FLAG_FIN);
  }

  #fin(id: number, flags: number): void {
    const stream = this.#streams.get(id);
    if ((flags & FLAG_FIN) === 0 || stream === undefined || stream.remoteEnded) return;
    stream.remoteEnded = true;
    stream.push(null);
  }

  #settings(payload: Buffer): void {
    need(payload, 4, TYPE.SETTINGS);
    const count = payload.readUInt32BE(0);
    need(payload, 4 + 8 * count, TYPE.SETTINGS);
    let size: number | undefined;
    for (let at = 4; at < 4 + 8 * count; at += 8) {
      if (payload.readUIntBE(at + 1, 3) === SETTINGS_INITIAL_WINDOW_SIZE)
        size = payload.readUInt32BE(at + 4) & MAX_WINDOW;
    }
    if (size === undefined) return;
    // Only the last one counts: a frame may have thousands, and a session as many streams.
    for (const stream of this.#streams.values()) stream.sendWindow += size - this.#initialWindow;
    this.#initialWindow = size;
    this.#heedsWindows = true;
    this.#feed();
  }

  #windowUpdate(id: number, delta: number): void {
    this.#heedsWindows = true;
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.sendWindow += delta;
    if (stream.sendWindow > MAX_WINDOW) stream.destroy(new BerthError('out_of_range', 'a window too large'));
    this.#feed();
  }

  #feed(): void {
    for (const [stream, again] of [...this.#starved]) {
      if (stream.sendWindow > 0 && this.#starved.delete(stream)) again();
    }
  }

  #reset(id: number, reason: number): void {
    this.#write(controlFrame(TYPE.RST_STREAM, 0, id, reason));
  }

  #write(frame: Buffer): void {
    if (this.#closed || this.#socket.destroyed) return;
    this.#unsent++;
    this.#socket.write(frame, () => {
      this.#unsent--;
    });
    if (this.#unsent > MAX_UNSENT) this.#fail(new Error('the peer does not read'));
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    // From here on nothing is written any more, whatever the streams make of their end.
    this.#shut(BerthError.from(error));
    if (!this.#socket.destroyed) this.#socket.write(controlFrame(TYPE.GOAWAY, 0, this.#lastId, 1));
    this.#socket.destroy();
  }

  #shut(error?: BerthError): void {
    this.#closed = true;
    clearTimeout(this.#idle);
    for (const stream of [...this.#streams.values()]) stream.destroy(error);
    this.#codec.close();
    this.#ended.resolve();
  }
}

function need(payload: Buffer, length: number, type: number): void {
  if (payload.length < length) {
    throw new BerthError('invalid_argument', `a control frame of type ${type} has ${payload.length} bytes`);
  }
}

function streamReset(): BerthError {
  return new BerthError('canceled', 'the peer has reset the stream');
}
