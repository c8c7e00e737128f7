import { BerthError } from '#common/errors.ts';
import type { WireTypes } from '#proto/wire.ts';
import type { PullCredentials } from './image-service.ts';

/** The answer to berthd's question for credentials. */
export type AuthAnswer = WireTypes['containerd.types.transfer.AuthResponse']['in'];

const DOCKER_HOSTS = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com']);

/**
 * What to tell `host`, which asks for credentials during the pull of an image from `domain`. Credentials go to the
 * server that they are for and to nobody else: not to a mirror of it, not to a token server's redirect.
 *
 * @throws `invalid_argument` when the credentials can't be read; the message holds none of them.
 */
export function authAnswer(credentials: PullCredentials | undefined, host: string, domain: string): AuthAnswer {
  const none: AuthAnswer = { authType: 'NONE' };
  if (credentials === undefined) return none;
  const { serverAddress, username, password, auth, identityToken, registryToken } = credentials;
  if (!sameHost(serverAddress === '' ? domain : serverAddress, host)) return none;
  if (registryToken !== '') return { authType: 'HEADER', secret: `Bearer ${registryToken}` };
  if (identityToken !== '') return { authType: 'REFRESH', username, secret: identityToken };
  if (username !== '') return { authType: 'CREDENTIALS', username, secret: password };
  return auth === '' ? none : { authType: 'CREDENTIALS', ...decodeAuth(auth) };
}

/** `auth` of a Docker configuration file: base64 of `username:password`, by some clients padded with NULs. */
function decodeAuth(auth: string): { username: string; secret: string } {
  const decoded = Buffer.from(auth, 'base64').toString();
  const colon = decoded.indexOf(':');
  if (colon < 0) throw new BerthError('invalid_argument', 'the auth field of the credentials is not user:password');
  return { username: decoded.slice(0, colon), secret: decoded.slice(colon + 1).replace(/\0+$/, '') };
}

function sameHost(address: string, host: string): boolean {
  const wanted = hostOf(address);
  return wanted === host || (DOCKER_HOSTS.has(wanted) && DOCKER_HOSTS.has(host));
}

/** The host, with its port, of `https://host/v1/`, `host/path` or `host`. */
function hostOf(address: string): string {
  return address
    .replace(/^[a-z]+:\/\//i, '')
    .replace(/[/?#].*$/, '')
    .toLowerCase();
}
