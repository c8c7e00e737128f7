import { messageOf } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';

interface Step {
  readonly what: string;
  readonly run: () => unknown;
}

/** First and longest pause between two tries of what couldn't be taken back. */
const pauseMs = { first: 1_000, longest: 60_000 };

/**
 * Takes back what operations have done that didn't come to their end. What can't be taken back now, because berthd is
 * away or a plugin fails, is tried again until it can; after a crash, recovery goes on with it.
 */
export class Janitor {
  readonly #log: Logger;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** For one operation on the pod or container `id`. */
  undo(id: string): Undo {
    return new Undo((steps, last) => this.#takeBack(id, steps, last, pauseMs.first));
  }

  /** Stops trying. */
  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  async #takeBack(id: string, steps: readonly Step[], last: Step | undefined, pause: number): Promise<void> {
    const failed: Step[] = [];
    for (const step of steps) if (!(await this.#try(id, step))) failed.push(step);
    if (failed.length === 0 && (last === undefined || (await this.#try(id, last)))) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#takeBack(id, failed, last, Math.min(pause * 2, pauseMs.longest));
    }, pause);
    timer.unref();
    this.#timers.add(timer);
  }

  async #try(id: string, { what, run }: Step): Promise<boolean> {
    try {
      await run();
      return true;
    } catch (error) {
      this.#log.warn({ id, err: error }, `could not ${what}, will try again: ${messageOf(error)}`);
      return false;
    }
  }
}

/**
 * The steps that take back one operation, the last one first, unless it comes to its end. Each stands for an acquire
 * and is added before it; it must be harmless when there is nothing to take back. The caller gets the error that made
 * them necessary, whatever becomes of them.
 */
export class Undo implements AsyncDisposable {
  readonly #takeBack: (steps: readonly Step[], last: Step | undefined) => Promise<void>;
  readonly #steps: Step[] = [];
  #last: Step | undefined;
  #kept = false;

  constructor(takeBack: (steps: readonly Step[], last: Step | undefined) => Promise<void>) {
    this.#takeBack = takeBack;
  }

  /** Adds a step; `what` names it in the log: "remove the files". */
  add(what: string, run: () => unknown): void {
    this.#steps.unshift({ what, run });
  }

  /** A step that runs only after all others have succeeded: it removes the record that leads recovery to them. */
  addLast(what: string, run: () => unknown): void {
    this.#last = { what, run };
  }

  /** The operation has succeeded: everything stays. */
  keep(): void {
    this.#kept = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#kept) await this.#takeBack(this.#steps, this.#last);
  }
}
