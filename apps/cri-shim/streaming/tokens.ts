import { randomBytes } from 'node:crypto';
import { BerthError } from '#common/errors.ts';

/** Between the answer to Exec, Attach or PortForward and the client's connection: the kubelet connects at once. */
const LIFETIME_MS = 60_000;
/** Tokens that wait for their client, at most. */
const MOST = 1000;

/** Hands out tokens that stand for a request, each good for one use within a minute. */
export class Tokens<T> {
  readonly #waiting = new Map<string, { readonly request: T; readonly expiry: NodeJS.Timeout }>();

  /** @throws resource_exhausted when too many wait for their client */
  issue(request: T): string {
    if (this.#waiting.size >= MOST) {
      throw new BerthError('resource_exhausted', `${MOST} streaming requests wait for their client: try again later`);
    }
    const token = randomBytes(18).toString('base64url');
    const expiry = setTimeout(() => this.#waiting.delete(token), LIFETIME_MS).unref();
    this.#waiting.set(token, { request, expiry });
    return token;
  }

  /** undefined for a token that is unknown, expired or used. */
  redeem(token: string): T | undefined {
    const found = this.#waiting.get(token);
    this.#waiting.delete(token);
    clearTimeout(found?.expiry);
    return found?.request;
  }
}
