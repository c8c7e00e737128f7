import { codeOfErrno, errnoOf } from './node-error.ts';

/** The status codes of gRPC and ttrpc (`google.rpc.Code`), without `ok`, as lower-case words. */
export type Code =
  | 'canceled'
  | 'unknown'
  | 'invalid_argument'
  | 'deadline_exceeded'
  | 'not_found'
  | 'already_exists'
  | 'permission_denied'
  | 'resource_exhausted'
  | 'failed_precondition'
  | 'aborted'
  | 'out_of_range'
  | 'unimplemented'
  | 'internal'
  | 'unavailable'
  | 'data_loss'
  | 'unauthenticated';

/**
 * The one error that crosses a module's edge. The code is what a client acts on; the message says what failed, on
 * which object, and what to do about it; `cause` keeps the error it came from.
 */
export class BerthError extends Error {
  override readonly name = 'BerthError';
  readonly code: Code;

  constructor(code: Code, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /**
   * Turns anything thrown into a BerthError, with `context: ` before its message.
   * A BerthError keeps its code; an errno is mapped by `node-error.ts`; an aborted operation becomes `canceled` and a
   * timed-out one `deadline_exceeded`; all else is `unknown`.
   */
  static from(error: unknown, context?: string): BerthError {
    if (error instanceof BerthError && context === undefined) return error;
    const message = messageOf(error);
    return new BerthError(codeOf(error), context === undefined ? message : `${context}: ${message}`, { cause: error });
  }
}

/** Whether `error` is a BerthError with one of the given codes. */
export function isCode(error: unknown, ...codes: readonly Code[]): error is BerthError {
  return error instanceof BerthError && codes.includes(error.code);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): Code {
  if (error instanceof BerthError) return error.code;
  if (error instanceof Error && error.name === 'AbortError') {
    // An AbortError's cause is the signal's reason, which tells a timeout from a cancellation.
    return error.cause instanceof BerthError || isTimeout(error.cause) ? codeOf(error.cause) : 'canceled';
  }
  if (isTimeout(error)) return 'deadline_exceeded';
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  const errno = errnoOf(error);
  return errno === undefined ? 'unknown' : codeOfErrno(errno);
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError';
}
