import { constants } from 'node:os';
import { BerthError } from '#common/errors.ts';

/** SIGINT, SIGTERM and SIGHUP as one AbortSignal, so that a command can undo what it did. */
export function onStopSignal(): StopSignal {
  return new StopSignal();
}

const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

class StopSignal implements Disposable {
  readonly #controller = new AbortController();
  #received: NodeJS.Signals | undefined;
  readonly #listener = (name: NodeJS.Signals) => {
    // Only the first counts: an impatient second one must not interrupt the cleaning up.
    this.#received ??= name;
    this.#controller.abort(new BerthError('canceled', `stopped by ${name}`));
  };

  constructor() {
    for (const name of names) process.on(name, this.#listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 plus the number of the signal that came, as shells have it. */
  get exitCode(): number | undefined {
    return this.#received === undefined ? undefined : 128 + constants.signals[this.#received];
  }

  [Symbol.dispose](): void {
    for (const name of names) process.off(name, this.#listener);
  }
}
