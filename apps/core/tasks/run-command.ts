import { spawn } from 'node:child_process';

/** How long output may still come in after the command has ended, should a child of its hold the pipe. */
const DRAIN_MS = 200;
/** Bytes of each output stream that are kept. */
const OUTPUT_LIMIT = 1 << 20;

/** What a command did: its output, or in `complaint` why it is to be taken for failed. */
export type CommandResult =
  | { readonly ok: true; readonly stdout: Buffer; readonly stderr: string }
  | { readonly ok: false; readonly code: 'unknown' | 'deadline_exceeded' | 'canceled'; readonly complaint: string };

export interface CommandOptions {
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Runs the command in a process group of its own; a timeout or abort kills it. stdout and stderr are kept apart. */
export function runCommand(binary: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { promise, resolve } = Promise.withResolvers<CommandResult>();
  const hasInput = options.stdin.length > 0;
  const child = spawn(binary, args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let stopped: 'deadline_exceeded' | 'canceled' | undefined;
  const stop = (why: 'deadline_exceeded' | 'canceled') => {
    stopped ??= why;
    child.kill('SIGKILL');
  };
  let draining: NodeJS.Timeout | undefined;
  const timer = setTimeout(stop, options.timeoutMs, 'deadline_exceeded');
  const onAbort = () => stop('canceled');
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();

  const end = (result: CommandResult) => {
    clearTimeout(timer);
    clearTimeout(draining);
    options.signal?.removeEventListener('abort', onAbort);
    child.stdout?.destroy();
    child.stderr?.destroy();
    resolve(result);
  };
  const ended = (code: number | null, signal: NodeJS.Signals | null) => {
    const said = stderr().toString('utf8').trim();
    if (stopped !== undefined) {
      const reason =
        stopped === 'canceled' ? 'the call was canceled' : `no answer within ${options.timeoutMs / 1000} s`;
      end({ ok: false, code: stopped, complaint: said === '' ? reason : `${reason}: ${said}` });
    } else if (code === 0) {
      end({ ok: true, stdout: stdout(), stderr: said });
    } else {
      const how = signal === null ? `exit status ${code}` : `killed by ${signal}`;
      const text = [said, stdout().toString('utf8').trim()].filter(Boolean).join('; ');
      end({ ok: false, code: 'unknown', complaint: text === '' ? how : `${text}: ${how}` });
    }
  };
  child.on('error', (error) => end({ ok: false, code: 'unknown', complaint: error.message }));
  child.on('close', ended);
  child.on('exit', (code, signal) => {
    draining = setTimeout(ended, DRAIN_MS, code, signal);
  });
  if (hasInput && child.stdin !== null) {
    // A shim that has no use for its stdin may be gone before it is written.
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin);
  }
  return promise;
}

function collect(stream: NodeJS.ReadableStream | null): () => Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= OUTPUT_LIMIT) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks);
}
