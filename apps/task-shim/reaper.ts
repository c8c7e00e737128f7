import { W, waitpid } from '#common/native/index.ts';

/** How a process ended. `status` is 0…255, with 128 + n for signal n, as shells and containerd count. */
export interface Exit {
  readonly pid: number;
  readonly status: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * Collects every ended child of this process: the OCI runtime's, and as a subreaper all that they leave behind.
 *
 * Nothing else in the process may wait for children. An exit is handed to who asked for its pid; one that nobody
 * knows yet is kept as long as somebody holds, because a container's process can end before its pid is read from
 * the pid file; any other is a stray zombie and forgotten.
 */
export class Reaper {
  readonly #listeners = new Map<number, (exit: Exit) => void>();
  readonly #unclaimed = new Map<number, Exit>();
  readonly #onChild = (): void => this.#collect();
  #holds = 0;

  start(): void {
    process.on('SIGCHLD', this.#onChild);
  }

  stop(): void {
    process.off('SIGCHLD', this.#onChild);
  }

  /** Calls `listener` once with the exit of `pid`, at once if it is already known. */
  onExit(pid: number, listener: (exit: Exit) => void): void {
    const known = this.#unclaimed.get(pid);
    if (known === undefined) {
      this.#listeners.set(pid, listener);
    } else {
      this.#unclaimed.delete(pid);
      listener(known);
    }
  }

  exitOf(pid: number): Promise<Exit> {
    return new Promise((resolve) => this.onExit(pid, resolve));
  }

  /** Keeps exits of unknown pids until the returned function is called. */
  hold(): () => void {
    this.#holds++;
    return () => {
      this.#holds--;
      if (this.#holds === 0) this.#unclaimed.clear();
    };
  }

  #collect(): void {
    const at = Date.now();
    for (;;) {
      const ended = waitpid(-1, W.NOHANG);
      if (ended === null) return;
      const exit: Exit = { pid: ended.pid, status: ended.exitCode ?? 128 + (ended.signal ?? 0), at };
      const listener = this.#listeners.get(ended.pid);
      if (listener !== undefined) {
        this.#listeners.delete(ended.pid);
        listener(exit);
      } else if (this.#holds > 0) {
        this.#unclaimed.set(ended.pid, exit);
      }
    }
  }
}
