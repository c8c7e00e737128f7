import { closeSync, openSync } from 'node:fs';
import { spawn, W, waitpid } from '../native/index.ts';

/** How a child ended: by itself with a code, or by a signal. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: number | null;
}

export interface Child {
  readonly pid: number;
  /** Never rejects. Doesn't keep this process alive. */
  readonly exited: Promise<ChildExit>;
  /** SIGKILL to it and to what it has started in its session. Nothing once it has ended. */
  kill(): void;
}

export interface ChildOptions {
  /** The whole environment; what is undefined is left out. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** What becomes descriptor 0, 1, …; 'null' is /dev/null. It gets no others. */
  readonly fds: readonly (number | 'null')[];
}

/**
 * Children of this process that are made by posix_spawn, which shares this process's memory until the exec.
 *
 * `node:child_process` forks, which copies the page tables: for a daemon with 100 MB of memory that is 4 ms of
 * processor time per child, in which nothing else is served, against 0.2 ms here. What libuv doesn't start it doesn't
 * collect either, so that is done here, on SIGCHLD.
 */
export class Children {
  readonly #running = new Map<number, (exit: ChildExit) => void>();
  readonly #onChild = (): void => this.#collect();

  /**
   * Starts a child in a session of its own. A program without a slash is looked up on the PATH.
   * @throws ENOENT and the like when the program can't be run
   */
  start(argv: readonly string[], { env, cwd, fds }: ChildOptions): Child {
    const variables = Object.entries(env).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]));
    const devNull = openSync('/dev/null', 'r+');
    // Before there is a child: its end must find somebody listening.
    if (this.#running.size === 0) process.on('SIGCHLD', this.#onChild);
    try {
      const descriptors = fds.map((fd) => (fd === 'null' ? devNull : fd));
      const pid = spawn(argv, variables, cwd, descriptors, true);
      const { promise: exited, resolve } = Promise.withResolvers<ChildExit>();
      this.#running.set(pid, resolve);
      return { pid, exited, kill: () => this.#kill(pid) };
    } finally {
      closeSync(devNull);
      this.#stopListeningIfIdle();
    }
  }

  #kill(pid: number): void {
    // Until it is collected the number is its own.
    if (this.#running.has(pid)) process.kill(-pid, 'SIGKILL');
  }

  #collect(): void {
    for (const [pid, ended] of this.#running) {
      const status = waitpid(pid, W.NOHANG);
      if (status === null) continue;
      this.#running.delete(pid);
      ended({ code: status.exitCode, signal: status.signal });
    }
    this.#stopListeningIfIdle();
  }

  #stopListeningIfIdle(): void {
    if (this.#running.size === 0) process.off('SIGCHLD', this.#onChild);
  }
}
