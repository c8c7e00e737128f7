import type { IncomingMessage, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { isIPv6 } from 'node:net';
import type { Duplex } from 'node:stream';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import { nodeHttp } from '#common/node-http.ts';
import { refuse } from './handshake.ts';
import type { StreamingRequest } from './request.ts';
import type { ServerIdentity } from './server-identity.ts';
import { Tokens } from './tokens.ts';

export interface StreamingOptions {
  /** Host and port; port 0: any. */
  readonly address: string;
  readonly port: number;
  /** With one, connections are encrypted. */
  readonly identity: ServerIdentity | undefined;
  /** A connection without traffic is ended after this; milliseconds. */
  readonly idleMs: number;
  readonly log: Logger;
}

/** Takes over a connection whose token was good. */
export type Serve = (
  request: StreamingRequest,
  upgrade: IncomingMessage,
  socket: Duplex,
  head: Buffer,
) => Promise<void>;

/** From the connection to the end of the request's head. */
const HEAD_MS = 30_000;
const MAX_HEAD = 16 * 1024;

/** The HTTP server behind the URLs that Exec, Attach and PortForward answer. */
export class StreamingServer {
  readonly #options: StreamingOptions;
  readonly #tokens = new Tokens<StreamingRequest>();
  readonly #sockets = new Set<Duplex>();
  readonly #server: Server;
  #base = '';

  constructor(options: StreamingOptions, serve: Serve) {
    this.#options = options;
    const limits = { headersTimeout: HEAD_MS, requestTimeout: HEAD_MS, maxHeaderSize: MAX_HEAD };
    const { identity } = options;
    this.#server =
      identity === undefined
        ? nodeHttp.createServer(limits)
        : createTlsServer({ ...limits, ...identity, minVersion: 'TLSv1.2' });
    this.#server.on('request', (request, response) => {
      const known = this.#isRoute(request.url);
      response.writeHead(known ? 400 : 404, { connection: 'close' });
      response.end(known ? 'an upgrade to SPDY/3.1 or WebSocket is needed\n' : 'not found\n');
    });
    this.#server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => undefined);
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      const found = this.#tokens.redeem(this.#tokenOf(request.url));
      if (found === undefined) return refuse(socket, 404, 'unknown, used or expired token');
      serve(found, request, socket, head).catch((error: unknown) => {
        options.log.debug({ err: error }, 'a streaming connection failed');
        socket.destroy();
      });
    });
  }

  /** @throws what the address can't be listened on for */
  async listen(): Promise<void> {
    const { address, port, identity } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(BerthError.from(error, `streaming.address ${address}`)));
      this.#server.listen(port, address, resolve);
    });
    const host = isIPv6(address) ? `[${address}]` : address;
    this.#base = `${identity === undefined ? 'http' : 'https'}://${host}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** How many clients are connected. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** The URL that a client may use once, within a minute. */
  url(request: StreamingRequest): string {
    return `${this.#base}/${request.kind}/${this.#tokens.issue(request)}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #isRoute(url = ''): boolean {
    return /^\/(?:exec|attach|portforward)\/[\w-]+$/.test(url.split('?', 1)[0] ?? '');
  }

  #tokenOf(url = ''): string {
    return this.#isRoute(url) ? (url.split('?', 1)[0]?.split('/')[2] ?? '') : '';
  }
}
