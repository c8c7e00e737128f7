import { mallocTrim } from './native/index.ts';

export interface SpareMemoryOptions {
  readonly everyMs?: number;
  /** Processor time between two looks, in µs, that makes it worth it: one in a hundred. */
  readonly busyMicros?: number;
  readonly giveBack?: () => void;
  /** Processor time of this process so far, in µs. */
  readonly worked?: () => number;
}

/**
 * Gives memory back to the system that a daemon needed only for a while.
 *
 * The C library keeps what is freed between things that stay, which buffers of many calls at once leave everywhere:
 * after a thousand pods some 70 MB of 90. So while there is work, and once after it, all of that is given back, which
 * takes 4 ms. A daemon at rest does nothing.
 */
export function returnSpareMemory(options: SpareMemoryOptions = {}): Disposable {
  const { everyMs = 10_000, busyMicros = everyMs * 10, giveBack = mallocTrim, worked = processorTime } = options;
  let seen = worked();
  let wasBusy = false;
  const timer = setInterval(() => {
    const now = worked();
    const isBusy = now - seen >= busyMicros;
    seen = now;
    // Once more when the work is over: by then the last garbage is collected.
    if (isBusy || wasBusy) giveBack();
    wasBusy = isBusy;
  }, everyMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
