/** What proves to a registry who asks. */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** Exchanged for an access token at the token server. */
  | { readonly kind: 'refresh'; readonly token: string }
  /** Sent as the Authorization header as it is. */
  | { readonly kind: 'header'; readonly value: string };

/** Finds the credentials for a registry host, undefined for anonymous access. Asked once a host and pull. */
export type CredentialSource = (host: string, challenges: readonly string[]) => Promise<Credentials | undefined>;

/** The first credentials that any of the sources has: they are asked in order. */
export function firstCredentials(...sources: readonly (CredentialSource | undefined)[]): CredentialSource {
  return async (host, challenges) => {
    for (const source of sources) {
      const found = await source?.(host, challenges);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** Value of a Basic Authorization header. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** A URL fit for messages and logs: without user, password, query and fragment, which may all hold secrets. */
export function redactUrl(url: string | URL): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return '(malformed URL)';
  }
}
