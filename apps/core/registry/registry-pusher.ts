import { BerthError, isCode } from '#common/errors.ts';
import { formatReference, parseReference, type Reference, withDefaultTag } from '#common/reference.ts';
import type { Descriptor } from './document.ts';
import { registryHosts } from './host-config.ts';
import type { HostRequest, HostSession } from './host-session.ts';
import type { HttpResponse } from './http.ts';
import { mirrorQuery, openSession, type RegistryClientOptions } from './registry-client.ts';
import { drain } from './response-body.ts';
import { DEFAULT_RETRY, type RetryPolicy, retry } from './retry.ts';

/** Bytes of one request to a registry that takes no blob in one piece. */
const CHUNK = 8 * 1024 * 1024;

/** A registry may take its time to check and store what it has received, and says nothing meanwhile. */
const IDLE_TIMEOUT_MS = 5 * 60_000;

export interface BlobUpload {
  readonly descriptor: Descriptor;
  /** Another repository of the same registry that is known to have the blob. */
  readonly mountFrom: string | undefined;
  /** The bytes from `offset` on, `length` at most (all). */
  readonly read: (offset: number, length?: number) => AsyncIterable<Buffer>;
  readonly signal: AbortSignal;
  /** Told of the bytes that went out, 0 when the upload begins anew. */
  readonly onProgress?: (offset: number) => void;
}

/** Writes one repository of a registry. Protocol: OCI distribution-spec 1.1, "Push". */
export class RegistryPusher implements Disposable {
  readonly reference: Reference;
  readonly #session: HostSession;
  readonly #retry: RetryPolicy;

  private constructor(reference: Reference, session: HostSession, retryPolicy: RetryPolicy) {
    this.reference = reference;
    this.#session = session;
    this.#retry = retryPolicy;
  }

  /**
   * Everything goes to the first host that may be pushed to.
   * @throws invalid_argument for a malformed reference; failed_precondition for a bad hosts.toml and without such a host.
   */
  static async open(image: string, options: RegistryClientOptions = {}): Promise<RegistryPusher> {
    const reference = withDefaultTag(parseReference(image));
    const hosts = await registryHosts(reference.domain, options);
    const host = hosts.find(({ capabilities }) => capabilities.has('push'));
    if (host === undefined) {
      const message = `${formatReference(reference)}: no host of ${reference.domain} has the capability "push"`;
      throw new BerthError('failed_precondition', message);
    }
    const timeouts = { ...host.timeouts, idleMs: IDLE_TIMEOUT_MS };
    const session = openSession({ ...host, timeouts }, options);
    return new RegistryPusher(reference, session, options.retry ?? DEFAULT_RETRY);
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }

  /** Whether the repository has the blob. */
  hasBlob({ digest }: Descriptor, signal: AbortSignal): Promise<boolean> {
    return this.#has(`blobs/${digest}`, signal, () => true);
  }

  /** Whether the repository has the manifest or index; with a tag, whether the tag stands for it. */
  hasManifest({ digest, mediaType }: Descriptor, tag: string | undefined, signal: AbortSignal): Promise<boolean> {
    const isIt = ({ headers }: HttpResponse): boolean => headers['docker-content-digest'] === digest;
    const headers = { accept: `${mediaType}, */*` };
    return this.#has(`manifests/${tag ?? digest}`, signal, tag === undefined ? () => true : isIt, headers);
  }

  /** Brings a manifest or index into the repository, under its digest or a tag, once all that it names is there. */
  async putManifest(
    { digest, mediaType }: Descriptor,
    bytes: Buffer,
    tag: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const headers = { 'content-type': mediaType, 'content-length': String(bytes.length) };
    const path = `manifests/${tag ?? digest}`;
    const response = await this.#retried(signal, () =>
      this.#request(signal, { method: 'PUT', path: this.#below(path), headers, body: () => bytes }),
    );
    await this.#accepted(response, digest);
  }

  /**
   * Brings a blob into the repository: from another repository where that is possible, else whole in one request, or in
   * pieces when the registry finds that too large.
   */
  async upload(upload: BlobUpload): Promise<'uploaded' | 'mounted'> {
    const { descriptor, mountFrom, signal } = upload;
    let source = mountFrom;
    return await this.#retried(signal, async () => {
      const location = await this.#begin(descriptor, source, signal);
      if (location === undefined) return 'mounted';
      source = undefined;
      upload.onProgress?.(0);
      const response = await this.#put(upload, location);
      if (response.status !== 413) await this.#accepted(response, descriptor.digest);
      else {
        await drain(response);
        await this.#sendPieces(upload);
      }
      return 'uploaded';
    });
  }

  /** Answers where to send the blob; undefined when it is there now, by way of the other repository. */
  async #begin({ digest }: Descriptor, from: string | undefined, signal: AbortSignal): Promise<URL | undefined> {
    const path = this.#below('blobs/uploads/');
    if (from !== undefined) {
      try {
        const request = { method: 'POST', path, query: { mount: digest, from } } as const;
        const response = await this.#request(signal, request, `repository:${from}:pull`);
        await drain(response);
        return response.status === 201 ? undefined : this.#session.locationOf(response);
      } catch (error) {
        // Who may push here need not be allowed to read there.
        if (!isCode(error, 'unauthenticated', 'permission_denied')) throw error;
      }
    }
    const response = await this.#request(signal, { method: 'POST', path });
    await drain(response);
    return this.#session.locationOf(response);
  }

  #put({ descriptor, read, signal, onProgress }: BlobUpload, location: URL): Promise<HttpResponse> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(descriptor.size) };
    const body = (): AsyncIterable<Buffer> => counted(read(0), 0, onProgress);
    const path = withDigest(location, descriptor.digest);
    return this.#request(signal, { method: 'PUT', path, headers, body, expected: [413] });
  }

  async #sendPieces(upload: BlobUpload): Promise<void> {
    const { descriptor, read, signal, onProgress } = upload;
    const { digest, size } = descriptor;
    let location = (await this.#begin(descriptor, undefined, signal)) as URL;
    for (let offset = 0; offset < size; offset += CHUNK) {
      const length = Math.min(CHUNK, size - offset);
      const headers = {
        'content-type': 'application/octet-stream',
        'content-length': String(length),
        'content-range': `${offset}-${offset + length - 1}`,
      };
      const body = (): AsyncIterable<Buffer> => counted(read(offset, length), offset, onProgress);
      const response = await this.#request(signal, { method: 'PATCH', path: location, headers, body });
      await drain(response);
      location = this.#session.locationOf(response);
    }
    const headers = { 'content-length': '0' };
    await this.#accepted(
      await this.#request(signal, { method: 'PUT', path: withDigest(location, digest), headers }),
      digest,
    );
  }

  async #has(
    path: string,
    signal: AbortSignal,
    isIt: (response: HttpResponse) => boolean,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<boolean> {
    try {
      const response = await this.#retried(signal, () =>
        this.#request(signal, { method: 'HEAD', path: this.#below(path), headers }),
      );
      response.body.resume();
      return isIt(response);
    } catch (error) {
      if (isCode(error, 'not_found')) return false;
      throw error;
    }
  }

  #below(path: string): string {
    return `${this.reference.path}/${path}`;
  }

  #request(
    signal: AbortSignal,
    request: Omit<HostRequest, 'scope' | 'signal'>,
    furtherScope = '',
  ): Promise<HttpResponse> {
    const { path, domain } = this.reference;
    const scope = `repository:${path}:pull,push ${furtherScope}`.trim();
    const query = { ...mirrorQuery(this.#session, domain), ...request.query };
    return this.#session.request({ ...request, query, scope, signal });
  }

  async #retried<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    try {
      return await retry(this.#retry, signal, attempt);
    } catch (error) {
      throw BerthError.from(error, formatReference(this.reference));
    }
  }

  async #accepted(response: HttpResponse, digest: string): Promise<void> {
    await drain(response);
    const stored = response.headers['docker-content-digest'] ?? digest;
    if (stored === digest) return;
    throw new BerthError('data_loss', `${this.#session.name} stored ${String(stored)} instead of ${digest}`);
  }
}

/** The URL's own query is the registry's: it stays. */
function withDigest(location: URL, digest: string): URL {
  const url = new URL(location);
  url.searchParams.append('digest', digest);
  return url;
}

async function* counted(
  bytes: AsyncIterable<Buffer>,
  start: number,
  onProgress: BlobUpload['onProgress'],
): AsyncGenerator<Buffer> {
  let offset = start;
  for await (const piece of bytes) {
    yield piece;
    offset += piece.length;
    onProgress?.(offset);
  }
}
