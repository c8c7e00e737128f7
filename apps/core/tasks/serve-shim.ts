import { Socket } from 'node:net';
import type { Child, Children } from '#common/child/children.ts';
import { BerthError } from '#common/errors.ts';
import { close, pipe, setNonblock } from '#common/native/index.ts';
import { moveToCgroup } from './shim-cgroup.ts';

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
  /** The shim's absolute path, then its arguments. */
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Where the shim itself is to be, '' for where we are. What it starts later begins there. */
  readonly cgroup: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Runs our own shim's server in a session of its own, without the detour by a `start` process, whose runtime would have
 * to come up first: that is half of the time and of the processor that a new shim takes. Settles when it listens; it
 * outlives us.
 * @throws internal with the shim's complaint; deadline_exceeded; canceled; what moving it to its cgroup throws.
 */
export async function serveShim(children: Children, options: ServeOptions): Promise<void> {
  const { argv, cwd, env, cgroup, timeoutMs, signal } = options;
  const [readEnd, writeEnd] = pipe(0);
  setNonblock(readEnd, true);
  const readiness = new Socket({ fd: readEnd, readable: true, writable: false });
  const timeout = AbortSignal.timeout(timeoutMs);
  let child: Child | undefined;
  try {
    try {
      const fds = ['null', 'null', 'null', writeEnd] as const;
      child = children.start(argv, { cwd, env: { ...env, ...LEAN }, fds });
      if (cgroup !== '') moveToCgroup(child.pid, cgroup);
    } finally {
      close(writeEnd);
    }
    const said = await textOf(readiness, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
    if (said !== READY) throw new BerthError('internal', said || 'it ended before it was ready');
  } catch (error) {
    child?.kill();
    throw BerthError.from(error, `shim ${argv[0]}`);
  } finally {
    readiness.destroy();
  }
}

/** All that comes out of the stream until its end. @throws canceled, deadline_exceeded by the signal. */
async function textOf(stream: Socket, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
  });
  stream.on('error', () => {});
  stream.once('close', () => resolve(text));
  const onAbort = () => reject(BerthError.from(signal.reason, 'waiting for it to be ready'));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
