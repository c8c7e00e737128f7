import type { Agent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { Readable } from 'node:stream';
import { getCACertificates } from 'node:tls';
import { BerthError, messageOf } from '#common/errors.ts';
import { errnoOf } from '#common/node-error.ts';
import { nodeHttp } from '#common/node-http.ts';
import { version } from '#common/version.ts';
import { redactUrl } from './credentials.ts';
import { proxyFor } from './proxy.ts';

/** How to trust a server and how to prove who we are to it. PEM texts; `ca` comes on top of the system's. */
export interface TlsOptions {
  readonly ca?: readonly string[];
  readonly clientPairs?: readonly { readonly cert: string; readonly key: string }[];
  readonly skipVerify?: boolean;
}

export interface Timeouts {
  /** Milliseconds until a connection must stand. */
  readonly connectMs: number;
  /** Milliseconds without a byte after which the server counts as gone. */
  readonly idleMs: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** Pieces are sent as fast as the server takes them; a `content-length` header says how many bytes they are. */
  readonly body?: string | Buffer | AsyncIterable<Buffer> | undefined;
  readonly signal: AbortSignal;
  readonly timeouts: Timeouts;
}

/** The body must be read to its end or destroyed. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
  readonly url: URL;
}

/** Told of each request and how it ended, in a line without anything secret. */
export type Trace = (line: string) => void;

const UNTRUSTED = /^(CERT_|ERR_TLS_CERT|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY)|HOSTNAME_MISMATCH|INVALID_CA)/;

/** Connections to one server, kept alive between requests, through the proxy that the environment names. */
export class HttpConnections implements Disposable {
  readonly #agents = new Map<string, Agent>();
  readonly #tls: TlsOptions;
  readonly #trace: Trace | undefined;

  constructor(tls: TlsOptions, trace?: Trace) {
    this.#tls = tls;
    this.#trace = trace;
  }

  [Symbol.dispose](): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  /**
   * Sends one request; redirects are not followed.
   * @throws unavailable that names the host when it can't be reached; failed_precondition when its certificate isn't
   *   trusted; canceled.
   */
  async request(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const asked = `${request.method} ${redactUrl(url)}`;
    try {
      const response = await this.#exchange(url, request);
      this.#trace?.(`${asked}: ${response.status} ${response.headers['content-type'] ?? ''}`.trimEnd());
      return response;
    } catch (error) {
      this.#trace?.(`${asked}: ${messageOf(error)}`);
      throw error;
    }
  }

  async #exchange(url: URL, request: HttpRequest): Promise<HttpResponse> {
    const send = url.protocol === 'https:' ? https.request : nodeHttp.request;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const outgoing = send(url, {
      method: request.method,
      agent: this.#agent(url),
      signal: request.signal,
      timeout: request.timeouts.idleMs,
      headers: { 'user-agent': `berth/${version}`, 'accept-encoding': 'identity', ...request.headers },
    });
    outgoing.on('response', resolve).on('error', reject);
    outgoing.on('timeout', () => outgoing.destroy(new BerthError('unavailable', `${url.host} sends nothing any more`)));
    using _ = limitConnecting(outgoing, url, request.timeouts.connectMs);
    sendBody(outgoing, request.body);
    try {
      const body = await promise;
      // An aborted body is found by whoever reads it; without a reader it must not end the process.
      body.on('error', () => {});
      return { status: body.statusCode ?? 0, headers: body.headers, body, url };
    } catch (error) {
      throw request.signal.aborted ? BerthError.from(request.signal.reason) : transportError(url, error);
    }
  }

  #agent(url: URL): Agent {
    const proxyEnv = proxyFor(url, process.env);
    const key = JSON.stringify([url.protocol, proxyEnv]);
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    const options = { keepAlive: true, ...(proxyEnv === undefined ? {} : { proxyEnv }) };
    const agent =
      url.protocol === 'https:'
        ? new https.Agent({ ...options, ...tlsAgentOptions(this.#tls) })
        : new nodeHttp.Agent(options);
    this.#agents.set(key, agent);
    return agent;
  }
}

/** A server that answers before it has everything wants no more of it: the connection ends with its answer. */
function sendBody(outgoing: ClientRequest, body: HttpRequest['body']): void {
  if (body === undefined || typeof body === 'string' || Buffer.isBuffer(body)) {
    outgoing.end(body);
    return;
  }
  const pieces = Readable.from(body, { objectMode: false });
  outgoing.once('response', (response) => {
    if (outgoing.writableEnded) return;
    pieces.destroy();
    response.once('close', () => outgoing.destroy());
  });
  outgoing.once('close', () => pieces.destroy());
  pieces.once('error', (error) => outgoing.destroy(error));
  pieces.pipe(outgoing);
}

/** Destroys a request whose connection doesn't come about in time. */
function limitConnecting(outgoing: ClientRequest, url: URL, limitMs: number): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => clearTimeout(timer);
  outgoing.once('socket', (socket) => {
    if (!socket.connecting) return;
    const late = new BerthError(
      'unavailable',
      `can't reach ${redactUrl(url.origin)}: no connection after ${limitMs} ms`,
    );
    timer = setTimeout(() => outgoing.destroy(late), limitMs);
    socket.once('connect', stop);
  });
  return { [Symbol.dispose]: stop };
}

/** What went wrong between us and a server, by the server's name and with the way out where there is one. */
export function transportError(url: URL, error: unknown): BerthError {
  if (error instanceof BerthError) return error;
  const errno = errnoOf(error) ?? '';
  if (UNTRUSTED.test(errno)) {
    const fix = 'put its CA into ca of the host in certs.d/<host>/hosts.toml';
    const message = `the certificate of ${url.host} is not trusted: ${messageOf(error)}; ${fix}`;
    return new BerthError('failed_precondition', message, { cause: error });
  }
  const plain = errno === 'EPROTO' && /wrong version number|packet length too long/.test(messageOf(error));
  const why = plain ? 'it does not speak TLS; ask for plain HTTP' : messageOf(error);
  return new BerthError('unavailable', `can't reach ${redactUrl(url.origin)}: ${why}`, { cause: error });
}

function tlsAgentOptions(tls: TlsOptions): https.AgentOptions {
  return {
    ca: [...trustedAuthorities(), ...(tls.ca ?? [])],
    ...(tls.clientPairs === undefined
      ? {}
      : { cert: tls.clientPairs.map(({ cert }) => cert), key: tls.clientPairs.map(({ key }) => key) }),
    ...(tls.skipVerify === undefined ? {} : { rejectUnauthorized: !tls.skipVerify }),
  };
}

/** The machine's own list, which its owner may have extended; Node's built-in one where there is none. */
function trustedAuthorities(): string[] {
  const system = getCACertificates('system');
  return system.length > 0 ? system : getCACertificates('bundled');
}
