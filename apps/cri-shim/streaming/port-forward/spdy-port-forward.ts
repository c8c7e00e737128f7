import { finished } from 'node:stream/promises';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import type { SpdyStream } from '../spdy/stream.ts';
import { PortConnection } from './port-connection.ts';

interface Pair {
  readonly port: number;
  readonly data?: SpdyStream;
  readonly error?: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/** Pairs the streams of a `portforward.k8s.io` connection: per connection one for data, one for a failure. */
export class SpdyPortForward {
  readonly #netns: () => string | null;
  readonly #creationMs: number;
  readonly #pairs = new Map<string, Pair>();

  /** @param netns path of the pod's network namespace at this moment; throws when the pod is gone */
  constructor(netns: () => string | null, creationMs: number) {
    this.#netns = netns;
    this.#creationMs = creationMs;
  }

  /** @throws invalid_argument; the stream is to be reset then, others go on */
  add(stream: SpdyStream): void {
    const type = stream.headers.get('streamtype');
    const text = stream.headers.get('port') ?? '';
    const port = Number(text);
    if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
      throw new BerthError('invalid_argument', `"${text}" is no port`);
    }
    if (type !== 'data' && type !== 'error') throw new BerthError('invalid_argument', `stream type "${type}"`);
    // Old clients number nothing: they open the error stream right before the data stream.
    const request = stream.headers.get('requestid') ?? `#${type === 'error' ? stream.id : stream.id - 2}`;
    const known = this.#pairs.get(request);
    if (known?.[type] !== undefined) {
      throw new BerthError('already_exists', `request ${request} has its ${type} stream`);
    }
    const timer = known?.timer ?? setTimeout(() => this.#expire(request), this.#creationMs);
    const pair: Pair = { ...known, port, [type]: stream, timer };
    this.#pairs.set(request, pair);
    stream.once('close', () => this.#forget(request, stream));
    const { data, error } = pair;
    if (data === undefined || error === undefined) return;
    clearTimeout(timer);
    this.#pairs.delete(request);
    void this.#connect(port, data, error);
  }

  async #connect(port: number, data: SpdyStream, error: SpdyStream): Promise<void> {
    error.resume();
    try {
      const connection = await PortConnection.open(this.#netns(), port);
      if (data.destroyed) connection.close();
      else await connection.forward(data, data);
      error.end();
    } catch (cause) {
      // A client that resets the data stream has what it wanted.
      if (isCode(cause, 'canceled')) error.end();
      else error.end(`error forwarding port ${port}: ${messageOf(cause)}`);
      data.resume();
      if (!data.destroyed) data.end();
    }
    await finished(error, { readable: false, error: false }).catch(() => undefined);
    for (const stream of [data, error]) stream.destroy();
  }

  #expire(request: string): void {
    const pair = this.#pairs.get(request);
    this.#pairs.delete(request);
    const late = new BerthError('deadline_exceeded', `request ${request} never had both of its streams`);
    pair?.data?.destroy(late);
    pair?.error?.destroy(late);
  }

  /** A stream that went before its counterpart came. */
  #forget(request: string, stream: SpdyStream): void {
    const pair = this.#pairs.get(request);
    if (pair === undefined || (pair.data !== stream && pair.error !== stream)) return;
    clearTimeout(pair.timer);
    this.#pairs.delete(request);
  }
}
