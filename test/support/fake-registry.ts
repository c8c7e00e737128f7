import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { digestOf, type TestImage } from './busybox-image.ts';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

/** Answers a request and says so with true; anything else leaves it to the registry. */
export type Interception = (request: IncomingMessage, response: ServerResponse) => unknown;

/**
 * A registry in this process that misbehaves when told to. It serves what it holds, also what is pushed to it, under any
 * repository.
 */
export class FakeRegistry implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  intercept: Interception = () => false;
  readonly #objects = new Map<string, { readonly mediaType: string; readonly digest: string; readonly data: Buffer }>();
  /** Bytes of uploads under way, by id. */
  readonly #uploads = new Map<string, Buffer>();
  readonly #server: Server;

  private constructor(tls: ServerOptions | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse): void => this.#answer(request, response);
    this.#server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  }

  static async start(tls?: ServerOptions): Promise<FakeRegistry> {
    const registry = new FakeRegistry(tls);
    registry.#server.listen(0, '127.0.0.1');
    await once(registry.#server, 'listening');
    return registry;
  }

  /** `127.0.0.1:PORT` */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Serves an image; returns its reference. */
  add(image: TestImage, name = 'test/image', tag = 'latest'): string {
    for (const blob of [image.manifest, image.config, ...image.layers]) this.#objects.set(blob.digest, blob);
    this.#objects.set(tag, image.manifest);
    return `${this.host}/${name}:${tag}`;
  }

  /** Serves any document under its digest, and under a tag. */
  addDocument(mediaType: string, digest: string, data: Buffer, tag: string): void {
    this.#objects.set(digest, { mediaType, digest, data });
    this.#objects.set(tag, { mediaType, digest, data });
  }

  /** What it holds under a digest or tag. */
  stored(key: string): Buffer | undefined {
    return this.#objects.get(key)?.data;
  }

  /** Requests for what ends in `suffix`. */
  requestsFor(suffix: string): SeenRequest[] {
    return this.seen.filter(({ url }) => url.split('?')[0]?.endsWith(suffix));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = request;
    this.seen.push({ method, url, headers });
    if (this.intercept(request, response) === true) return;
    if (method !== 'GET' && method !== 'HEAD') {
      void this.#receive(request, response).catch(() => response.destroy());
      return;
    }
    const key = decodeURIComponent(url.split('?')[0]?.split('/').at(-1) ?? '');
    const object = this.#objects.get(key);
    if (object === undefined) {
      const errors = [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }];
      response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ errors }));
      return;
    }
    const { data } = object;
    const [, from, to] = /^bytes=([0-9]+)-([0-9]*)$/.exec(headers.range ?? '') ?? [];
    const start = Number(from ?? 0);
    const end = to === undefined || to === '' ? data.length : Math.min(data.length, Number(to) + 1);
    const body = data.subarray(start, end);
    response.writeHead(from === undefined ? 200 : 206, {
      'content-type': object.mediaType,
      'content-length': body.length,
      'docker-content-digest': object.digest,
      ...(from === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${data.length}` }),
    });
    response.end(method === 'HEAD' ? undefined : body);
  }

  /** distribution-spec, "Push". */
  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '', `http://${this.host}`);
    const id = url.pathname.split('/').at(-1) ?? '';
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const data = Buffer.concat(pieces);
    if (url.pathname.includes('/manifests/')) {
      const object = { mediaType: request.headers['content-type'] ?? '', digest: digestOf(data), data };
      this.#objects.set(object.digest, object);
      this.#objects.set(id, object);
      response.writeHead(201, { 'docker-content-digest': object.digest }).end();
      return;
    }
    const upload = request.method === 'POST' ? String(this.#uploads.size + 1) : id;
    const bytes = Buffer.concat([this.#uploads.get(upload) ?? Buffer.alloc(0), data]);
    this.#uploads.set(upload, bytes);
    const digest = url.searchParams.get('digest');
    const location = `/v2/test/image/blobs/uploads/${upload}?state=${bytes.length}`;
    if (request.method !== 'PUT' || digest === null) response.writeHead(202, { location }).end();
    else if (digestOf(bytes) !== digest) response.writeHead(400).end();
    else {
      this.#objects.set(digest, { mediaType: 'application/octet-stream', digest, data: bytes });
      response.writeHead(201, { 'docker-content-digest': digest }).end();
    }
  }
}
