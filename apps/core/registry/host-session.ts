import { BerthError } from '#common/errors.ts';
import { Authorizer } from './authorizer.ts';
import { type CredentialSource, redactUrl } from './credentials.ts';
import type { RegistryHost } from './hosts.ts';
import { HttpConnections, type HttpRequest, type HttpResponse, type Trace } from './http.ts';
import { drain, errorDetail } from './response-body.ts';
import { retryAfter, TransientError } from './retry.ts';

const MAX_REDIRECTS = 10;
const MAX_AUTH_ROUNDS = 2;

export interface HostRequest {
  readonly method: HttpRequest['method'];
  /** Below the host's base, without a leading slash; or a URL that the host named in an earlier answer. */
  readonly path: string | URL;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Makes the body, anew for each time that it is sent. */
  readonly body?: () => HttpRequest['body'];
  /** Token scopes with spaces between them: `repository:library/busybox:pull`. */
  readonly scope: string;
  /** Statuses that the caller wants to see although they tell of a failure. */
  readonly expected?: readonly number[];
  readonly signal: AbortSignal;
}

/** Talks to one host of a registry during one transfer: authorization, redirects, and what each status means. */
export class HostSession implements Disposable {
  readonly host: RegistryHost;
  readonly #connections: HttpConnections;
  /** For redirects to other hosts: same trust, but nothing that says who we are. */
  readonly #foreign: HttpConnections;
  readonly #authorizer: Authorizer;

  constructor(host: RegistryHost, credentials: CredentialSource | undefined, trace?: Trace) {
    this.host = host;
    this.#connections = new HttpConnections(host.tls, trace);
    const { clientPairs: _identity, ...trust } = host.tls;
    this.#foreign = new HttpConnections(trust, trace);
    this.#authorizer = new Authorizer(host, this.#connections, credentials);
  }

  get name(): string {
    return this.host.base.host;
  }

  [Symbol.dispose](): void {
    this.#connections[Symbol.dispose]();
    this.#foreign[Symbol.dispose]();
  }

  /**
   * Sends a request and answers a response of a status from 200 to 206, or one that is expected.
   * @throws not_found; unauthenticated and permission_denied with the registry's reason; unavailable when another attempt
   *   may help; what {@link HttpConnections.request} throws.
   */
  async request(request: HostRequest): Promise<HttpResponse> {
    for (let round = 0; ; round++) {
      const { response, authorization } = await this.#send(request);
      if (request.expected?.includes(response.status)) return response;
      if (response.status !== 401) return this.#checked(response);
      if (round === MAX_AUTH_ROUNDS || !(await this.#authorizer.refused(response, request.scope, authorization))) {
        throw new BerthError('unauthenticated', await this.#message('unauthorized', response));
      }
      await drain(response);
    }
  }

  /** Answers also what the host was told of who we are. */
  async #send(request: HostRequest): Promise<{ response: HttpResponse; authorization: string | undefined }> {
    const { signal } = request;
    const { timeouts } = this.host;
    let url = this.#url(request);
    let authorization: string | undefined;
    for (let redirects = 0; ; redirects++) {
      const home = url.origin === this.host.base.origin;
      if (home) authorization = await this.#authorizer.authorization(request.scope, signal);
      const headers = { ...request.headers, ...(home ? this.#identity(authorization) : {}) };
      const connections = home ? this.#connections : this.#foreign;
      const { method } = request;
      const response = await connections.request(url, { method, headers, body: request.body?.(), signal, timeouts });
      const location = response.headers.location;
      if (!redirectsOf(method).includes(response.status) || location === undefined) {
        // Another host's challenge isn't the registry's: it gets no answer.
        if (response.status === 401 && !home) {
          throw new BerthError(
            'permission_denied',
            await this.#message('the storage behind the registry refused', response),
          );
        }
        return { response, authorization };
      }
      await drain(response);
      if (redirects === MAX_REDIRECTS) throw new BerthError('unavailable', `${this.name} redirects without end`);
      url = this.#redirect(url, location);
    }
  }

  /** Headers that say who we are. */
  #identity(authorization: string | undefined): Record<string, string | string[]> {
    return { ...this.host.headers, ...(authorization === undefined ? {} : { authorization }) };
  }

  #url(request: HostRequest): URL {
    const url = new URL(typeof request.path === 'string' ? this.host.base : request.path);
    if (typeof request.path === 'string') url.pathname = `${url.pathname.replace(/\/$/, '')}/${request.path}`;
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value);
    return url;
  }

  /** The URL that an answer of this host says to go on with. @throws unavailable when it names none. */
  locationOf(response: HttpResponse): URL {
    const { location } = response.headers;
    if (location === undefined) throw new BerthError('unavailable', `${this.name} doesn't say where to go on`);
    return this.#redirect(response.url, location);
  }

  #redirect(from: URL, location: string): URL {
    const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
    if (to === undefined || (to.protocol !== 'https:' && to.protocol !== 'http:')) {
      throw new BerthError('unavailable', `${from.host} redirects to a malformed URL`);
    }
    if (from.protocol === 'https:' && to.protocol === 'http:') {
      throw new BerthError('failed_precondition', `${from.host} redirects to ${redactUrl(to)}, which is not TLS`);
    }
    return to;
  }

  async #checked(response: HttpResponse): Promise<HttpResponse> {
    const { status } = response;
    if (status >= 200 && status <= 206) return response;
    if (status === 404) throw new BerthError('not_found', await this.#message('not found', response));
    if (status === 403) throw new BerthError('permission_denied', await this.#message('forbidden', response));
    const message = await this.#message(status === 429 ? 'too many requests' : 'unexpected answer', response);
    if (status === 429 || status === 408 || status >= 500) {
      throw new TransientError(message, retryAfter(response.headers['retry-after']));
    }
    throw new BerthError('failed_precondition', message);
  }

  async #message(what: string, response: HttpResponse): Promise<string> {
    const detail = await errorDetail(response);
    return `${what}: ${redactUrl(response.url)} answered ${response.status}${detail === '' ? '' : ` (${detail})`}`;
  }
}

/** What changes the registry may only be sent elsewhere as it is (RFC 9110, 15.4). */
function redirectsOf(method: HttpRequest['method']): readonly number[] {
  return method === 'GET' || method === 'HEAD' ? [301, 302, 303, 307, 308] : [307, 308];
}
