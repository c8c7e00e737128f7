import { mkdirSync, rmSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { moveToCgroup } from '#common/cgroup/shim-cgroup.ts';
import type { Child, Children } from '#common/child/children.ts';
import { BerthError } from '#common/errors.ts';
import { close, packetPair, pipe, sendFd, setNonblock } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import { leanEnvironment, readyMessage, type ServeRequest, templatePadding } from '#common/shim-serve.ts';

export interface TemplateOptions {
  /** The shim's absolute path. */
  readonly binary: string;
  /** What all of its shims have in common. */
  readonly env: Readonly<Record<string, string>>;
  /** A folder for it alone, which is made anew. */
  readonly folder: string;
}

export interface ServeOptions {
  readonly request: ServeRequest;
  /** Where the shim itself is to be, '' for where we are. What it starts later begins there. */
  readonly cgroup: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * A process of our own shim that has come up and serves nobody (apps/task-shim/template.ts). Every shim is forked from
 * it, which takes half of the processor time that a program of its own would take to come up and to serve a first
 * container, and shares the memory that is the same in all of them. It ends with us; the shims outlive both.
 */
export class ShimTemplate implements Disposable {
  readonly #options: TemplateOptions;
  readonly #identity: string;
  readonly #child: Child;
  #socket: number | undefined;

  /** @throws when the program can't be run. */
  constructor(children: Children, options: TemplateOptions) {
    const { binary, env, folder } = options;
    this.#options = options;
    this.#identity = identityOf(binary);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const [ours, theirs] = packetPair();
    this.#socket = ours;
    try {
      const fds = ['null', 'null', 'null', theirs] as const;
      const argv = [binary, 'template', templatePadding];
      this.#child = children.start(argv, { cwd: folder, env: { ...env, ...leanEnvironment }, fds });
      void this.#child.exited.then(() => this[Symbol.dispose]());
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    } finally {
      close(theirs);
    }
  }

  /** It lives, and its program is still the one that would be run today. */
  get isCurrent(): boolean {
    return this.#socket !== undefined && identityOf(this.#options.binary) === this.#identity;
  }

  /**
   * Has it fork a serving shim. Settles when that listens.
   * @throws internal with the shim's complaint; unavailable when the template has died; deadline_exceeded, and then a
   *   template that hangs has been killed; canceled; what moving the shim to its cgroup throws.
   */
  async serve({ request, cgroup, timeoutMs, signal }: ServeOptions): Promise<void> {
    const readiness = new Readiness();
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      this.#send(request, readiness);
      const moved = (pid: number): void => {
        if (cgroup !== '') moveToCgroup(pid, cgroup);
      };
      const said = await readiness.answer(moved, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
      if (said !== readyMessage) throw new BerthError('internal', said || 'it ended before it was ready');
    } catch (error) {
      if (timeout.aborted && !readiness.isForked) this.#child.kill();
      throw BerthError.from(error, `shim ${this.#options.binary}`);
    } finally {
      readiness[Symbol.dispose]();
    }
  }

  #send(request: ServeRequest, readiness: Readiness): void {
    try {
      if (this.#socket === undefined) throw new BerthError('unavailable', 'its template has ended');
      sendFd(this.#socket, JSON.stringify(request), readiness.writeEnd);
    } catch (error) {
      if (!hasErrno(error, 'EPIPE', 'ECONNRESET')) throw error;
      this[Symbol.dispose]();
      throw new BerthError('unavailable', 'its template has ended', { cause: error });
    } finally {
      readiness.closeWriteEnd();
    }
  }

  [Symbol.dispose](): void {
    if (this.#socket === undefined) return;
    close(this.#socket);
    this.#socket = undefined;
    rmSync(this.#options.folder, { recursive: true, force: true });
  }
}

/** The pipe on which a new shim says its pid and, in a second line, that it is ready. */
class Readiness implements Disposable {
  readonly writeEnd: number;
  readonly #stream: Socket;
  readonly #ended: Promise<void>;
  #text = '';
  #isOver = false;
  #isOpen = true;

  constructor() {
    const [readEnd, writeEnd] = pipe(0);
    this.writeEnd = writeEnd;
    setNonblock(readEnd, true);
    this.#stream = new Socket({ fd: readEnd, readable: true, writable: false });
    this.#stream.setEncoding('utf8');
    this.#stream.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      this.#stream.once('close', () => {
        this.#isOver = true;
        resolve();
      });
    });
  }

  get #pid(): number | undefined {
    const line = /^(\d+)\n/.exec(this.#text);
    return line === null ? undefined : Number(line[1]);
  }

  get isForked(): boolean {
    return this.#pid !== undefined;
  }

  closeWriteEnd(): void {
    if (this.#isOpen) close(this.writeEnd);
    this.#isOpen = false;
  }

  /**
   * What it says until it lets go of the pipe; `forked` is called as soon as its pid is known. A shim that fails to get
   * that far is killed: while the pipe is open, the pid is its own.
   * @throws what `forked` throws; canceled, deadline_exceeded by the signal.
   */
  async answer(forked: (pid: number) => void, signal: AbortSignal): Promise<string> {
    const { promise: failed, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(BerthError.from(signal.reason, 'waiting for it to be ready'));
    this.#stream.on('data', (chunk: string) => {
      const before = this.#pid;
      this.#text += chunk;
      const pid = this.#pid;
      if (before !== undefined || pid === undefined) return;
      try {
        forked(pid);
      } catch (error) {
        reject(error);
      }
    });
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      await Promise.race([this.#ended, failed]);
      return this.#text.replace(/^\d+\n/, '');
    } catch (error) {
      if (this.#pid !== undefined && !this.#isOver) process.kill(-this.#pid, 'SIGKILL');
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  [Symbol.dispose](): void {
    this.closeWriteEnd();
    this.#stream.destroy();
  }
}

/** An upgrade puts another file under the name. */
function identityOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? '' : `${found.dev}:${found.ino}:${found.size}:${found.mtimeMs}`;
}
