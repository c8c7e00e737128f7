import { type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { constants, createDeflate } from 'node:zlib';
import { draftDictionary } from './spdy-dictionary.ts';

interface DataFrame {
  readonly stream: ClientStream | undefined;
  readonly fin: boolean;
  left: number;
}

/**
 * A client of SPDY/3.1 for tests, written apart from the server's code: byte by byte from the draft, with nothing of
 * the server's.
 */
export class SpdyClient {
  readonly response: IncomingMessage;
  readonly #socket: Socket;
  readonly #deflate;
  readonly #streams = new Map<number, ClientStream>();
  readonly #pings = new Map<number, () => void>();
  #received: Buffer = Buffer.alloc(0);
  /** The data frame whose payload is coming in. */
  #data: DataFrame | undefined;
  #nextId = 1;
  #opening: Promise<unknown> = Promise.resolve();
  goneAway = false;
  /** Stream and reason of every reset that has come. */
  readonly resets: [streamId: number, reason: number][] = [];

  private constructor(socket: Socket, response: IncomingMessage) {
    this.#socket = socket;
    this.response = response;
    this.#deflate = createDeflate({ dictionary: draftDictionary });
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const stream of this.#streams.values()) stream.end();
    });
  }

  /** Connects; a refusal throws with its status and text. */
  static async connect(url: string, protocols: readonly string[]): Promise<SpdyClient> {
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
      asked.once('upgrade', (response, socket: Socket) => resolve(new SpdyClient(socket, response)));
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
    let bytes = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    for (;;) {
      if (this.#data !== undefined) bytes = this.#payload(this.#data, bytes);
      if (this.#data !== undefined || bytes.length < 8) break;
      const length = bytes.readUIntBE(5, 3);
      if ((bytes[0] ?? 0) < 0x80) {
        const fin = ((bytes[4] ?? 0) & 1) !== 0;
        this.#data = { stream: this.#streams.get(bytes.readUInt32BE(0)), fin, left: length };
        bytes = bytes.subarray(8);
      } else {
        if (bytes.length < 8 + length) break;
        this.#control(bytes[3] ?? 0, bytes.subarray(8, 8 + length));
        bytes = bytes.subarray(8 + length);
      }
    }
    this.#received = bytes;
  }

  /** Hands on what has come of a data frame, however little; answers what follows it. */
  #payload(data: DataFrame, bytes: Buffer): Buffer {
    const part = bytes.subarray(0, data.left);
    data.left -= part.length;
    data.stream?.receive(part);
    if (data.left === 0) {
      if (data.fin) data.stream?.end();
      this.#data = undefined;
    }
    return bytes.subarray(part.length);
  }

  #control(type: number, payload: Buffer): void {
    if (type === 3) this.#reset(payload.readUInt32BE(0), payload.readUInt32BE(4));
    else if (type === 6) this.#pings.get(payload.readUInt32BE(0))?.();
    else if (type === 7) this.goneAway = true;
  }

  #reset(streamId: number, reason: number): void {
    this.resets.push([streamId, reason]);
    this.#streams.get(streamId)?.resetBy(reason);
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

  /** Waits until so much has come. */
  async atLeast(bytes: number): Promise<void> {
    this.#wanted = { bytes, come: Promise.withResolvers() };
    this.#count();
    await this.#wanted.come.promise;
  }

  get length(): number {
    return this.#length;
  }

  /** Resolves with the server's end of the stream. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get sofar(): string {
    return Buffer.concat(this.#chunks).toString();
  }

  receive(payload: Buffer): void {
    this.#chunks.push(payload);
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
