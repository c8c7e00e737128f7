import { BerthError } from '#common/errors.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { basicAuthorization, type CredentialSource, type Credentials, redactUrl } from './credentials.ts';
import type { RegistryHost } from './hosts.ts';
import type { HttpConnections, HttpResponse } from './http.ts';
import { isLoopback } from './loopback.ts';
import { readBounded } from './response-body.ts';

const MAX_TOKEN_RESPONSE = 1024 * 1024;
/** A token is used up this long before it expires. */
const EXPIRY_MARGIN_MS = 5_000;
/** Docker's token specification: the lifetime when the server names none. */
const DEFAULT_LIFETIME_S = 60;

interface Token {
  readonly value: string;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/**
 * Proves who we are to one registry host. Credentials go to that host, and to the token server that it names itself;
 * redirects never come here, so neither does what another host asks for (CVE-2020-15157).
 * Protocol: distribution, spec/auth/token.md.
 */
export class Authorizer {
  readonly #host: RegistryHost;
  readonly #connections: HttpConnections;
  readonly #source: CredentialSource | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;
  /** What the host asked for, by the scope that it refused. */
  readonly #challenges = new Map<string, Challenge>();
  /** What it asked for last: the best guess for another scope. */
  #latest: Challenge | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();

  constructor(host: RegistryHost, connections: HttpConnections, source: CredentialSource | undefined) {
    this.#host = host;
    this.#connections = connections;
    this.#source = source;
  }

  /** The Authorization header for a request in `scope`, as far as it is known what the host wants. */
  async authorization(scope: string, signal: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenges.get(scope) ?? withoutScope(this.#latest);
    if (challenge === undefined) return undefined;
    const credentials = await this.#credentials;
    if (credentials?.kind === 'header') return credentials.value;
    if (challenge.scheme === 'bearer') return `Bearer ${await this.#token(challenge, scope, signal)}`;
    return credentials?.kind === 'password'
      ? basicAuthorization(credentials.username, credentials.password)
      : undefined;
  }

  /**
   * Takes note of a 401. Answers whether the request is worth another try: with a token made anew, or with the one that
   * another request has fetched since this one was sent.
   * @param sent the Authorization header that was refused.
   * @throws what the token server answered.
   */
  async refused(response: HttpResponse, scope: string, sent: string | undefined): Promise<boolean> {
    const values = response.headers['www-authenticate'];
    const challenges = parseChallenges(values === undefined ? [] : [values].flat());
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'));
    const challenge = bearer ?? challenges.find(({ scheme }) => scheme === 'basic');
    if (challenge === undefined) return false;
    this.#challenges.set(scope, challenge);
    this.#latest = challenge;
    const key = tokenKey(challenge, scope);
    const known = this.#tokens.get(key);
    const token = await known?.catch(() => undefined);
    if (known === this.#tokens.get(key) && (token === undefined || sent === `Bearer ${token.value}`)) {
      this.#tokens.delete(key);
    }
    this.#credentials ??= this.#ask(values === undefined ? [] : [values].flat());
    const credentials = await this.#credentials;
    return bearer !== undefined || credentials !== undefined;
  }

  async #ask(challenges: readonly string[]): Promise<Credentials | undefined> {
    return this.#source?.(this.#host.base.host, challenges);
  }

  async #token(challenge: Challenge, scope: string, signal: AbortSignal): Promise<string> {
    const key = tokenKey(challenge, scope);
    const known = await this.#tokens.get(key)?.catch(() => undefined);
    if (known !== undefined && known.expiresAt - EXPIRY_MARGIN_MS > Date.now()) return known.value;
    const fetched = this.#fetchToken(challenge, scope, signal);
    this.#tokens.set(key, fetched);
    return (await fetched).value;
  }

  async #fetchToken(challenge: Challenge, scope: string, signal: AbortSignal): Promise<Token> {
    const realm = this.#realm(challenge);
    const credentials = await this.#credentials;
    const service = challenge.parameters.get('service');
    const wanted = challenge.parameters.get('scope') ?? scope;
    const fields = new URLSearchParams(service === undefined ? {} : { service });
    for (const one of wanted.split(' ')) fields.append('scope', one);
    const response =
      credentials?.kind === 'refresh'
        ? await this.#postToken(realm, fields, credentials.token, signal)
        : await this.#getToken(realm, fields, credentials, signal);
    const body = await readBounded(response, MAX_TOKEN_RESPONSE);
    if (response.status === 401 || response.status === 403) {
      throw new BerthError('unauthenticated', `unauthorized: ${redactUrl(realm)} refused a token for ${wanted}`);
    }
    if (response.status !== 200) {
      throw new BerthError('unavailable', `${redactUrl(realm)} answered ${response.status} instead of a token`);
    }
    return parseToken(body, realm);
  }

  #getToken(
    realm: URL,
    fields: URLSearchParams,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const url = new URL(realm);
    for (const [name, value] of fields) url.searchParams.append(name, value);
    const headers: Record<string, string> = {};
    if (credentials?.kind === 'password') {
      url.searchParams.set('account', credentials.username);
      headers.authorization = basicAuthorization(credentials.username, credentials.password);
    }
    return this.#connections.request(url, { method: 'GET', headers, signal, timeouts: this.#host.timeouts });
  }

  /** distribution, spec/auth/oauth.md. */
  #postToken(realm: URL, fields: URLSearchParams, token: string, signal: AbortSignal): Promise<HttpResponse> {
    fields.set('grant_type', 'refresh_token');
    fields.set('client_id', 'berth');
    fields.set('refresh_token', token);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const { timeouts } = this.#host;
    return this.#connections.request(realm, {
      method: 'POST',
      headers,
      body: fields.toString(),
      signal,
      timeouts,
    });
  }

  /** A registry reached over TLS can't make us send a password in the clear. */
  #realm(challenge: Challenge): URL {
    const text = challenge.parameters.get('realm') ?? '';
    if (!URL.canParse(text)) {
      throw new BerthError('unavailable', `${this.#host.base.host} names a malformed token server`);
    }
    const realm = new URL(text);
    const secure = realm.protocol === 'https:' || (realm.protocol === 'http:' && isLoopback(realm.host));
    if (!secure && !(realm.protocol === 'http:' && this.#host.base.protocol === 'http:')) {
      const message = `${this.#host.base.host} names the token server ${redactUrl(realm)}, which is not reached over TLS`;
      throw new BerthError('failed_precondition', message);
    }
    return realm;
  }
}

function withoutScope(challenge: Challenge | undefined): Challenge | undefined {
  if (challenge === undefined) return undefined;
  const parameters = new Map(challenge.parameters);
  parameters.delete('scope');
  return { scheme: challenge.scheme, parameters };
}

function tokenKey(challenge: Challenge, scope: string): string {
  const { parameters } = challenge;
  return JSON.stringify([parameters.get('realm'), parameters.get('service'), parameters.get('scope') ?? scope]);
}

function parseToken(body: Buffer, realm: URL): Token {
  let answer: { token?: unknown; access_token?: unknown; expires_in?: unknown } = {};
  try {
    answer = JSON.parse(body.toString('utf8')) ?? {};
  } catch (cause) {
    throw new BerthError('unavailable', `${redactUrl(realm)} answered something else than JSON`, { cause });
  }
  const value = answer.token ?? answer.access_token;
  if (typeof value !== 'string' || value === '') {
    throw new BerthError('unavailable', `${redactUrl(realm)} answered without a token`);
  }
  const lifetime =
    typeof answer.expires_in === 'number' && answer.expires_in > 0 ? answer.expires_in : DEFAULT_LIFETIME_S;
  return { value, expiresAt: Date.now() + lifetime * 1000 };
}
