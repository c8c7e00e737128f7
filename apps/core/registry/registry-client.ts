import { createHash } from 'node:crypto';
import { isDigest } from '#common/digest.ts';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import { formatReference, parseReference, type Reference, withDefaultTag } from '#common/reference.ts';
import { type CredentialSource, firstCredentials } from './credentials.ts';
import { dockerCredentials } from './docker-config.ts';
import { type Descriptor, MAX_DOCUMENT } from './document.ts';
import { type HostConfigOptions, registryHosts } from './host-config.ts';
import { HostSession } from './host-session.ts';
import type { Capability, RegistryHost } from './hosts.ts';
import type { Trace } from './http.ts';
import { ACCEPTED_MANIFESTS, isIndex, isManifest, isSchema1 } from './media-types.ts';
import { readBounded } from './response-body.ts';
import { DEFAULT_RETRY, type RetryPolicy, retry } from './retry.ts';

export interface RegistryClientOptions extends HostConfigOptions {
  /** The client's; where they are none, those of the host's file count, and then those of the daemon. */
  readonly credentials?: CredentialSource | undefined;
  /** A `config.json` of Docker, for hosts that nobody else has credentials for. */
  readonly dockerConfig?: string | undefined;
  /** Sent to the registry and its mirrors, never beyond a redirect. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly retry?: RetryPolicy;
  readonly trace?: Trace | undefined;
}

/** Which bytes of a blob are wanted. */
export interface BlobRange {
  readonly offset: number;
  /** The first byte that isn't wanted any more; absent: all to the end. */
  readonly end?: number;
}

/** Bytes of a blob, from one host. */
export interface BlobStream {
  /** `host:port` that was asked first; storage behind it may have answered. */
  readonly host: string;
  /** Tells it from the registry's other hosts. */
  readonly source: string;
  /** Where the stream begins: what was asked for, or 0 when the host can't begin elsewhere. */
  readonly offset: number;
  /** Whether it ends where it was asked to; a host that knows no ranges sends everything. */
  readonly partial: boolean;
  readonly data: AsyncIterable<Buffer>;
  /** Ends the transfer; who reads `data` meets the reason. */
  close(reason?: Error): void;
}

/** Reads one repository of a registry, through its mirrors. Protocol: OCI distribution-spec 1.1, "Pull". */
export class RegistryClient implements Disposable {
  readonly reference: Reference;
  readonly #sessions: readonly HostSession[];
  readonly #retry: RetryPolicy;

  private constructor(reference: Reference, sessions: readonly HostSession[], retryPolicy: RetryPolicy) {
    this.reference = reference;
    this.#sessions = sessions;
    this.#retry = retryPolicy;
  }

  /** @throws invalid_argument for a malformed reference; failed_precondition for a bad hosts.toml. */
  static async open(image: string, options: RegistryClientOptions = {}): Promise<RegistryClient> {
    const reference = withDefaultTag(parseReference(image));
    const hosts = await registryHosts(reference.domain, options);
    const sessions = hosts.map((host) => openSession(host, options));
    return new RegistryClient(reference, sessions, options.retry ?? DEFAULT_RETRY);
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions) session[Symbol.dispose]();
  }

  /**
   * Finds out what the reference stands for now.
   * @throws not_found that names the reference; invalid_argument for a manifest of a kind that isn't supported.
   */
  async resolve(signal: AbortSignal): Promise<Descriptor> {
    const { tag, digest } = this.reference;
    const object = digest ?? (tag as string);
    const capability = digest === undefined ? 'resolve' : 'pull';
    const descriptor = await this.#anyHost(capability, signal, (session) => this.#head(session, object, signal));
    if (isSchema1(descriptor.mediaType)) {
      throw new BerthError(
        'invalid_argument',
        `${this.#name}: schema 1 manifests are not supported; push the image again`,
      );
    }
    if (!isIndex(descriptor.mediaType) && !isManifest(descriptor.mediaType)) {
      const message = `${this.#name} is no image: its media type is "${descriptor.mediaType}"`;
      throw new BerthError('invalid_argument', message);
    }
    return descriptor;
  }

  /**
   * Opens a blob, manifest or index, or a range of it, at the first host that has it. The bytes are not verified here: who finds
   * them wrong or cut off counts `failures` of each source: hosts with the fewest come first.
   */
  async blob(
    descriptor: Descriptor,
    range: BlobRange,
    signal: AbortSignal,
    failures: ReadonlyMap<string, number> = new Map(),
  ): Promise<BlobStream> {
    return this.#anyHost('pull', signal, (session) => this.#openBlob(session, descriptor, range, signal), failures);
  }

  get #name(): string {
    return formatReference(this.reference);
  }

  #request(
    session: HostSession,
    signal: AbortSignal,
  ): { scope: string; signal: AbortSignal; query: Record<string, string> } {
    const { domain, path } = this.reference;
    return { scope: `repository:${path}:pull`, signal, query: mirrorQuery(session, domain) };
  }

  async #head(session: HostSession, object: string, signal: AbortSignal): Promise<Descriptor> {
    const path = `${this.reference.path}/manifests/${object}`;
    const headers = { accept: ACCEPTED_MANIFESTS };
    const request = { ...this.#request(session, signal), path, headers };
    const response = await session.request({ ...request, method: 'HEAD' });
    response.body.resume();
    const described = this.#describe(response.headers, object);
    if (described !== undefined) return described;
    // Not every registry describes what it has: then the document itself tells.
    const full = await session.request({ ...request, method: 'GET' });
    const bytes = await readBounded(full, MAX_DOCUMENT);
    const digest = isDigest(object) ? object : `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const mediaType = baseType(full.headers['content-type']) ?? embeddedType(bytes);
    return { mediaType, digest, size: bytes.length };
  }

  #describe(headers: Readonly<Record<string, string | string[] | undefined>>, object: string): Descriptor | undefined {
    const mediaType = baseType(headers['content-type']);
    const header = headers['docker-content-digest'];
    const digest = isDigest(object) ? object : header;
    const size = Number(headers['content-length']);
    if (mediaType === undefined || typeof digest !== 'string' || !isDigest(digest) || !(size > 0)) return undefined;
    return { mediaType, digest, size };
  }

  async #openBlob(
    session: HostSession,
    descriptor: Descriptor,
    { offset, end }: BlobRange,
    signal: AbortSignal,
  ): Promise<BlobStream> {
    const isDocument = isIndex(descriptor.mediaType) || isManifest(descriptor.mediaType);
    const path = `${this.reference.path}/${isDocument ? 'manifests' : 'blobs'}/${descriptor.digest}`;
    const headers = {
      ...(isDocument ? { accept: ACCEPTED_MANIFESTS } : {}),
      ...(offset > 0 || end !== undefined ? { range: `bytes=${offset}-${end === undefined ? '' : end - 1}` } : {}),
    };
    const request = { ...this.#request(session, signal), method: 'GET', path, headers, expected: [416] } as const;
    const response = await session.request(request);
    const close = (reason?: Error): void => void response.body.destroy(reason);
    if (response.status === 416 && (offset > 0 || end !== undefined)) {
      close();
      return this.#openBlob(session, descriptor, { offset: 0 }, signal);
    }
    const range = /^bytes ([0-9]+)-/.exec(response.headers['content-range'] ?? '');
    const start = response.status === 206 ? Number(range?.[1] ?? -1) : 0;
    if (start !== 0 && start !== offset) {
      close();
      throw new BerthError(
        'unavailable',
        `${session.name} answers another range of ${descriptor.digest} than asked for`,
      );
    }
    const { name, host } = session;
    const partial = response.status === 206 && end !== undefined;
    return {
      host: name,
      source: host.base.href,
      offset: start,
      partial,
      data: response.body as AsyncIterable<Buffer>,
      close,
    };
  }

  /**
   * Asks the hosts that have the capability, in order, until one answers; each with retries of its own. Any failure but an
   * abort moves on to the next host.
   */
  async #anyHost<T>(
    capability: Capability,
    signal: AbortSignal,
    ask: (session: HostSession) => Promise<T>,
    failures: ReadonlyMap<string, number> = new Map(),
  ): Promise<T> {
    const failuresOf = ({ host }: HostSession): number => failures.get(host.base.href) ?? 0;
    const able = this.#sessions.filter(({ host }) => host.capabilities.has(capability));
    const sessions = able.toSorted((a, b) => failuresOf(a) - failuresOf(b));
    const errors: BerthError[] = [];
    for (const session of sessions) {
      try {
        return await retry(session === sessions.at(-1) ? this.#retry : hasty(this.#retry), signal, () => ask(session));
      } catch (error) {
        if (signal.aborted) throw BerthError.from(signal.reason);
        errors.push(BerthError.from(error));
      }
    }
    throw this.#failure(capability, errors);
  }

  #failure(capability: Capability, errors: readonly BerthError[]): BerthError {
    const [only] = errors;
    if (only === undefined) {
      const message = `${this.#name}: no host of ${this.reference.domain} has the capability "${capability}"`;
      return new BerthError('failed_precondition', message);
    }
    const missing = errors.every((error) => isCode(error, 'not_found'));
    // The last host is the registry itself; its word counts, unless it is the only one that lacks the image.
    const cause = missing ? only : (errors.findLast((error) => !isCode(error, 'not_found')) ?? only);
    const detail = [...new Set(errors.map(messageOf))].join('; ');
    return new BerthError(cause.code, `${this.#name}: ${detail}`, { cause });
  }
}

/** A mirror that fails, or wants to be left alone for long, is left sooner than the last host that could have the image. */
function hasty(policy: RetryPolicy): RetryPolicy {
  return { ...policy, attempts: Math.min(2, policy.attempts), maxRetryAfterMs: policy.maxDelayMs };
}

/** A session with what the caller wishes for all hosts, and what the host's file says of it. */
export function openSession(host: RegistryHost, options: RegistryClientOptions): HostSession {
  const { dockerConfig } = options;
  const ours: CredentialSource | undefined =
    dockerConfig === undefined ? undefined : (name) => dockerCredentials(dockerConfig, name);
  const credentials = firstCredentials(options.credentials, host.credentials, ours);
  return new HostSession({ ...host, headers: { ...options.headers, ...host.headers } }, credentials, options.trace);
}

/** A mirror for several registries tells them apart by this. */
export function mirrorQuery({ name }: HostSession, domain: string): Record<string, string> {
  const itself = name === domain || (domain === 'docker.io' && name === 'registry-1.docker.io');
  return itself ? {} : { ns: domain };
}

function baseType(value: string | string[] | undefined): string | undefined {
  const [first] = [value].flat();
  const type = first?.split(';')[0]?.trim().toLowerCase();
  return type === undefined || type === '' || type === 'application/json' || type === 'text/plain' ? undefined : type;
}

function embeddedType(bytes: Buffer): string {
  try {
    const { mediaType } = JSON.parse(bytes.toString('utf8')) as { mediaType?: unknown };
    return typeof mediaType === 'string' ? mediaType : '';
  } catch {
    return '';
  }
}
