import { type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { constants, createDeflate } from 'node:zlib';

/**
 * A client of SPDY/3.1 for tests, written apart from the server's code: byte by byte from the draft, with nothing of
 * the server's but the dictionary's bytes.
 */
export class SpdyClient {
  readonly response: IncomingMessage;
  readonly #socket: Socket;
  readonly #deflate;
  readonly #streams = new Map<number, ClientStream>();
  readonly #pings = new Map<number, () => void>();
  #received = Buffer.alloc(0);
  #nextId = 1;
  #opening: Promise<unknown> = Promise.resolve();
  goneAway = false;

  private constructor(socket: Socket, response: IncomingMessage, dictionary: Buffer) {
    this.#socket = socket;
    this.response = response;
    this.#deflate = createDeflate({ dictionary });
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const stream of this.#streams.values()) stream.end();
    });
  }

  /** Connects; a refusal throws with its status and text. */
  static async connect(url: string, protocols: readonly string[], dictionary: Buffer): Promise<SpdyClient> {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'SPDY/3.1',
      ...(protocols.length > 0 && { 'x-stream-protocol-version': [...protocols] }),
    };
    // As the kubelet, which takes any certificate.
    const asked = url.startsWith('https:')
      ? tlsRequest(url, { method: 'POST', headers, rejectUnauthorized: false })
      : request(url, { method: 'POST', headers });
    asked.end();
    return await new Promise((resolve, reject) => {
      asked.once('error', reject);
      asked.once('upgrade', (response, socket: Socket) => resolve(new SpdyClient(socket, response, dictionary)));
      asked.once('response', async (response) => {
        const text = (await response.toArray()).join('');
        reject(new Error(`${response.statusCode}: ${text}`));
      });
    });
  }

  /** One after another: the compression of a header block goes on from the one before. */
  open(headers: Readonly<Record<string, string>>): Promise<ClientStream> {
    const opened = this.#opening.then(() => this.#open(headers));
    this.#opening = opened;
    return opened;
  }

  async #open(headers: Readonly<Record<string, string>>): Promise<ClientStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new ClientStream(id, this);
    this.#streams.set(id, stream);
    const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    const text = [number(pairs.length), ...pairs.flat().flatMap((part) => [number(part.length), Buffer.from(part)])];
    const block = await this.#compress(Buffer.concat(text));
    this.control(1, 0, Buffer.concat([number(id), number(0), Buffer.from([0, 0]), block]));
    return stream;
  }

  control(type: number, flags: number, payload: Buffer): void {
    const head = Buffer.from([0x80, 3, 0, type, flags, 0, 0, 0]);
    head.writeUIntBE(payload.length, 5, 3);
    this.raw(Buffer.concat([head, payload]));
  }

  raw(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  async ping(id: number): Promise<void> {
    const answered = new Promise<void>((resolve) => this.#pings.set(id, resolve));
    this.control(6, 0, number(id));
    await answered;
  }

  /** Reads nothing any more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Waits for the server to close the connection. */
  async closed(): Promise<void> {
    if (!this.#socket.destroyed) await new Promise((resolve) => this.#socket.once('close', resolve));
  }

  /** Vanishes. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #compress(bytes: Buffer): Promise<Buffer> {
    const chunks: Buffer[] = [];
    const collect = (chunk: Buffer) => chunks.push(chunk);
    this.#deflate.on('data', collect);
    this.#deflate.write(bytes);
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    this.#deflate.off('data', collect);
    return Buffer.concat(chunks);
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#received.length < 8) return;
      const length = this.#received.readUIntBE(5, 3);
      if (this.#received.length < 8 + length) return;
      this.#frame(this.#received.subarray(0, 8), this.#received.subarray(8, 8 + length));
      this.#received = this.#received.subarray(8 + length);
    }
  }

  #frame(head: Buffer, payload: Buffer): void {
    if ((head[0] ?? 0) < 0x80) {
      const stream = this.#streams.get(head.readUInt32BE(0));
      stream?.receive(payload);
      if (((head[4] ?? 0) & 1) !== 0) stream?.end();
    } else if (head[3] === 3) this.#streams.get(payload.readUInt32BE(0))?.resetBy(payload.readUInt32BE(4));
    else if (head[3] === 6) this.#pings.get(payload.readUInt32BE(0))?.();
    else if (head[3] === 7) this.goneAway = true;
  }
}

/** One stream, with all that came on it. */
export class ClientStream {
  readonly id: number;
  readonly #client: SpdyClient;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #wanted: { readonly bytes: number; readonly come: PromiseWithResolvers<void> } | undefined;
  readonly #ended = Promise.withResolvers<void>();
  /** The reason of a reset. */
  reset: number | undefined;

  constructor(id: number, client: SpdyClient) {
    this.id = id;
    this.#client = client;
  }

  write(bytes: string | Buffer, fin = false): void {
    const payload = Buffer.from(bytes);
    const head = Buffer.from([0, 0, 0, 0, fin ? 1 : 0, 0, 0, 0]);
    head.writeUInt32BE(this.id, 0);
    head.writeUIntBE(payload.length, 5, 3);
    this.#client.raw(Buffer.concat([head, payload]));
  }

  /** Everything until the server's end of the stream. */
  async all(): Promise<string> {
    await this.#ended.promise;
    return this.sofar;
  }

  /** What has come once it is so much. */
  async atLeast(bytes: number): Promise<{ readonly length: number }> {
    this.#wanted = { bytes, come: Promise.withResolvers() };
    this.#count();
    await this.#wanted.come.promise;
    return { length: this.#length };
  }

  get sofar(): string {
    return Buffer.concat(this.#chunks).toString();
  }

  receive(payload: Buffer): void {
    this.#chunks.push(Buffer.from(payload));
    this.#length += payload.length;
    this.#count();
  }

  #count(): void {
    if (this.#wanted !== undefined && this.#length >= this.#wanted.bytes) this.#wanted.come.resolve();
  }

  resetBy(reason: number): void {
    this.reset = reason;
    this.end();
  }

  end(): void {
    this.#ended.resolve();
  }
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
