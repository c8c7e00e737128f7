import { setTimeout as sleep } from 'node:timers/promises';
import { BerthError, isCode } from '#common/errors.ts';

export interface RetryPolicy {
  readonly attempts: number;
  /** Wait before the second attempt, doubled for each further one, in milliseconds. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** The longest wait that a server can ask for; who wants to be left alone for longer isn't asked again. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 4,
  firstDelayMs: 200,
  maxDelayMs: 10_000,
  maxRetryAfterMs: 120_000,
};

/** A failure that another attempt may not meet; `afterMs` when the server said how long to wait. */
export class TransientError extends BerthError {
  readonly afterMs: number | undefined;

  constructor(message: string, afterMs?: number, options?: { cause?: unknown }) {
    super('unavailable', message, options);
    this.afterMs = afterMs;
  }
}

/**
 * Runs `attempt` until it succeeds, fails for good, or the attempts are used up. `unavailable` is worth another try; its
 * waits are spread at random, so that many nodes don't come back at once.
 * @param attempt answers, or rejects with an error that tells whether to go on.
 */
export async function retry<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  attempt: (number: number) => Promise<T>,
): Promise<T> {
  for (let number = 1; ; number++) {
    try {
      return await attempt(number);
    } catch (error) {
      if (signal.aborted) throw BerthError.from(signal.reason);
      if (number >= policy.attempts || !isCode(error, 'unavailable')) throw error;
      const backoff = policy.firstDelayMs * 2 ** (number - 1) * (0.5 + Math.random() / 2);
      const wanted = error instanceof TransientError ? error.afterMs : undefined;
      if (wanted !== undefined && wanted > policy.maxRetryAfterMs) throw error;
      try {
        await sleep(wanted ?? Math.min(backoff, policy.maxDelayMs), undefined, { signal });
      } catch {
        throw BerthError.from(signal.reason);
      }
    }
  }
}

/** Milliseconds of a Retry-After header (RFC 9110, 10.2.3). */
export function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const wait = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}
