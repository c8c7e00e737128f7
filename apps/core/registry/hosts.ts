import type { CredentialSource } from './credentials.ts';
import type { Timeouts, TlsOptions } from './http.ts';

export type Capability = 'pull' | 'resolve' | 'push' | 'referrers';

/** A server that may answer for a registry: the registry itself or a mirror. */
export interface RegistryHost {
  /** `https://host:port/v2`, without a slash at the end. */
  readonly base: URL;
  readonly capabilities: ReadonlySet<Capability>;
  readonly tls: TlsOptions;
  /** Sent with every request to this host, never to another. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly timeouts: Timeouts;
  /** Those that the host's file names; they go to this host only. */
  readonly credentials?: CredentialSource | undefined;
}
