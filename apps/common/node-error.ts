import type { Code } from './errors.ts';

/**
 * What an errno means to a client.
 *
 * ENOENT, EEXIST and ESRCH are left out on purpose: a file of the daemon's own that is missing doesn't mean that the
 * client's object is. A kubelet that reads NOT_FOUND forgets the container. Code that knows what the absent file
 * stands for says so itself (`hasErrno(error, 'ENOENT')`).
 */
const codes: Readonly<Record<string, Code>> = {
  EACCES: 'permission_denied',
  EPERM: 'permission_denied',
  ENOSPC: 'resource_exhausted',
  EDQUOT: 'resource_exhausted',
  EMFILE: 'resource_exhausted',
  ENFILE: 'resource_exhausted',
  ENOMEM: 'resource_exhausted',
  EROFS: 'failed_precondition',
  EBUSY: 'failed_precondition',
  ECANCELED: 'canceled',
  ABORT_ERR: 'canceled',
  ECONNABORTED: 'unavailable',
  ECONNREFUSED: 'unavailable',
  ECONNRESET: 'unavailable',
  EPIPE: 'unavailable',
  EHOSTDOWN: 'unavailable',
  EHOSTUNREACH: 'unavailable',
  ENETDOWN: 'unavailable',
  ENETUNREACH: 'unavailable',
  ENOTFOUND: 'unavailable',
  EAI_AGAIN: 'unavailable',
  UND_ERR_SOCKET: 'unavailable',
  UND_ERR_CONNECT_TIMEOUT: 'unavailable',
  ETIMEDOUT: 'deadline_exceeded',
  UND_ERR_HEADERS_TIMEOUT: 'deadline_exceeded',
  UND_ERR_BODY_TIMEOUT: 'deadline_exceeded',
};

/** The status code for an errno name such as `ENOSPC`; `internal` for those that tell a client nothing. */
export function codeOfErrno(errno: string): Code {
  return codes[errno] ?? 'internal';
}

/** The `code` that Node and the native addon put on system errors (`'ENOENT'`), if there is one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' && /^[A-Z][A-Z0-9_]+$/.test(error.code) ? error.code : undefined;
}

/** Whether `error` is a system error with one of the given names. */
export function hasErrno(error: unknown, ...names: readonly string[]): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && names.includes(errno);
}
