import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { BerthError } from '#common/errors.ts';

/** What our own shim writes on descriptor 3 once it listens; anything else is its complaint. */
const READY = 'ready';

/**
 * The environment that keeps an idle shim small: no just-in-time compiler and no helper threads of JavaScriptCore
 * (read by Bun as BUN_JSC_…). `start` gives it to the shim it makes; here we stand in for `start`.
 */
const LEAN = {
  BUN_JSC_useJIT: '0',
  BUN_JSC_numberOfGCMarkers: '1',
  BUN_JSC_useConcurrentGC: '0',
  BUN_GC_TIMER_DISABLE: '1',
};

export interface ServeOptions {
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs our own shim's server in a session of its own, without the detour by a `start` process, whose runtime would have
 * to come up first: that is half of the time and of the processor that a new shim takes. Settles when it listens; it
 * outlives us.
 * @throws internal with the shim's complaint; deadline_exceeded; canceled.
 */
export async function serveShim(binary: string, args: readonly string[], options: ServeOptions): Promise<void> {
  const { cwd, env, timeoutMs, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const child = spawn(binary, args, {
    cwd,
    env: { ...env, ...LEAN },
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  child.unref();
  const readiness = child.stdio[3] as Readable;
  const fail = (error: unknown) => {
    child.kill('SIGKILL');
    reject(BerthError.from(error, `shim ${binary}`));
  };
  let said = '';
  readiness.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  readiness.on('error', () => {});
  readiness.on('close', () => {
    if (said === READY) resolve();
    else fail(new BerthError('internal', said || 'it ended before it was ready'));
  });
  child.on('error', fail);
  const late = () => fail(new BerthError('deadline_exceeded', `not ready within ${timeoutMs / 1000} s`));
  const timer = setTimeout(late, timeoutMs);
  const onAbort = () => fail(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    readiness.destroy();
  }
}
