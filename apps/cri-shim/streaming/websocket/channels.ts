import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';

/** A message at most. Clients send far less at a time. */
export const MAX_MESSAGE = 1024 * 1024;
/** Input that may wait for its reader before the connection isn't read any more. */
const BACKLOG = 256 * 1024;
/** Version 5: "255, N" closes channel N. */
const CLOSE = 255;

/**
 * The channels of a WebSocket (Kubernetes' `channel.k8s.io` protocols): the first byte of a message is the channel's
 * number, the rest its payload. In the base64 forms messages are text, the number a digit, the payload base64.
 */
export class Channels {
  readonly #socket: WebSocket;
  readonly #base64: boolean;
  /** Those that have not ended: nothing may follow an end. */
  readonly #readers = new Map<number, Readable>();
  readonly gone: AbortSignal;

  constructor(socket: WebSocket, base64: boolean) {
    this.#socket = socket;
    this.#base64 = base64;
    const left = new AbortController();
    this.gone = left.signal;
    socket.on('message', (message: Buffer) => this.#receive(message));
    socket.on('error', () => socket.terminate());
    socket.once('close', () => {
      left.abort();
      for (const channel of this.#readers.keys()) this.#end(channel);
    });
  }

  /** The client's messages on a channel. */
  reader(channel: number): Readable {
    const readable = new Readable({ highWaterMark: BACKLOG, read: () => this.#resume() });
    this.#readers.set(channel, readable);
    return readable;
  }

  /** Sends to a channel; waits for a client that doesn't read. */
  writer(channel: number): Writable {
    return new Writable({
      highWaterMark: BACKLOG,
      write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done),
    });
  }

  send(channel: number, payload: Buffer, done: (error?: Error | null) => void = () => undefined): void {
    const message = this.#base64
      ? `${channel}${payload.toString('base64')}`
      : Buffer.concat([Buffer.from([channel]), payload]);
    this.#socket.send(message, (error) => done(error ?? null));
  }

  async close(): Promise<void> {
    if (this.#socket.readyState === this.#socket.CLOSED) return;
    const closed = once(this.#socket, 'close');
    this.#socket.close(1000);
    this.#socket.resume();
    await closed;
  }

  #receive(message: Buffer): void {
    if (message.length === 0) return;
    const first = message[0] ?? 0;
    const channel = this.#base64 ? first - 0x30 : first;
    if (!this.#base64 && channel === CLOSE) {
      this.#end(message[1] ?? -1);
      return;
    }
    const reader = this.#readers.get(channel);
    const rest = message.subarray(1);
    const payload = this.#base64 ? Buffer.from(rest.toString('latin1'), 'base64') : rest;
    if (reader === undefined || payload.length === 0) return;
    if (!reader.push(payload)) this.#socket.pause();
  }

  #end(channel: number): void {
    this.#readers.get(channel)?.push(null);
    this.#readers.delete(channel);
    this.#resume();
  }

  #resume(): void {
    if ([...this.#readers.values()].every((reader) => reader.readableLength < BACKLOG)) this.#socket.resume();
  }
}
