import { messageOf } from '#common/errors.ts';
import { type Logger, silentLogger } from '#common/log.ts';

/**
 * Steps that take back what an operation has done so far, last first, unless it comes to its end. A step that fails is
 * logged and the others still run: the caller gets the error that made them necessary.
 */
export class Undo {
  readonly #stack = new AsyncDisposableStack();
  readonly #log: Logger;

  constructor(log: Logger = silentLogger()) {
    this.#log = log;
  }

  /** Adds a step; `what` names it in the log. */
  add(what: string, step: () => unknown): void {
    this.#stack.defer(async () => {
      try {
        await step();
      } catch (error) {
        this.#log.warn({ err: error }, `could not ${what}: ${messageOf(error)}`);
      }
    });
  }

  /** The operation has succeeded: everything stays. */
  keep(): void {
    this.#stack.move();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
