import { Socket } from 'node:net';
import { moveToCgroup } from '#common/cgroup/shim-cgroup.ts';
import type { Child, Children } from '#common/child/children.ts';
import { BerthError } from '#common/errors.ts';
import { close, pipe, setNonblock } from '#common/native/index.ts';
import { leanEnvironment, readyMessage } from '#common/shim-serve.ts';

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
      child = children.start(argv, { cwd, env: { ...env, ...leanEnvironment }, fds });
      if (cgroup !== '') moveToCgroup(child.pid, cgroup);
    } finally {
      close(writeEnd);
    }
    const said = await textOf(readiness, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
    if (said !== readyMessage) throw new BerthError('internal', said || 'it ended before it was ready');
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
