import { mallocTrim } from './native/index.ts';
import { collectYoungGeneration } from './young-generation.ts';

export interface SpareMemoryOptions {
  readonly everyMs?: number;
  /** Processor time between two looks, in µs, that makes it worth it: one in a hundred. */
  readonly busyMicros?: number;
  readonly giveBack?: () => void;
  readonly collect?: () => void;
  /** Processor time of this process so far, in µs. */
  readonly worked?: () => number;
}

/** The first collection after work shows V8 that little is allocated, the second makes the young generation small. */
const looksAtRest = 2;

/**
 * Gives memory back to the system that a daemon needed only for a while.
 *
 * The C library keeps what is freed between things that stay, which buffers of many calls at once leave everywhere:
 * after a thousand pods some 70 MB of 90. V8 keeps a young generation of 48 MB. So while there is work, and twice after it,
 * what is free is given back, which takes 4 ms; after it garbage is collected as well. A daemon at rest does nothing.
 */
export function returnSpareMemory(options: SpareMemoryOptions = {}): Disposable {
  const { everyMs = 10_000, busyMicros = everyMs * 10 } = options;
  const { giveBack = mallocTrim, collect = collectYoungGeneration, worked = processorTime } = options;
  let seen = worked();
  let looksLeft = 0;
  const timer = setInterval(() => {
    const now = worked();
    const isBusy = now - seen >= busyMicros;
    seen = now;
    if (isBusy) looksLeft = looksAtRest;
    else if (looksLeft === 0) return;
    else {
      looksLeft -= 1;
      collect();
    }
    giveBack();
  }, everyMs);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
