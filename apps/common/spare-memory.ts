import { getHeapStatistics } from 'node:v8';
import { collectAll, collectYoungGeneration } from './garbage.ts';
import { mallocTrim } from './native/index.ts';

export interface SpareMemoryOptions {
  readonly everyMs?: number;
  /** Processor time between two looks, in µs, that makes it worth it: one in a hundred. */
  readonly busyMicros?: number;
  readonly giveBack?: () => void;
  readonly heap?: Heap;
  /** Processor time of this process so far, in µs. */
  readonly worked?: () => number;
}

/** V8's memory. */
export interface Heap {
  collectYoung(): void;
  collectAll(): void;
  /** Bytes in use, garbage that wasn't collected yet among them. */
  usedBytes(): number;
}

/** The first collection after work shows V8 that little is allocated, the second makes the young generation small. */
const looksAtRest = 2;
/** What the heap has in use beyond what the last whole collection left of it, to be worth another: it takes some 50 ms. */
const worthwhileBytes = 16 << 20;

const v8: Heap = {
  collectYoung: collectYoungGeneration,
  collectAll,
  usedBytes: () => getHeapStatistics().used_heap_size,
};

/**
 * Gives memory back to the system that a daemon needed only for a while.
 *
 * The C library keeps what is freed between things that stay, which buffers of many calls at once leave everywhere:
 * after a thousand pods some 70 MB of 90. V8 keeps a young generation of 48 MB, and of what has become old it collects
 * nothing before there is as much again: 80 MB after a hundred thousand commands. So while there is work, and twice after
 * it, what is free is given back, which takes 4 ms; after it garbage is collected as well. A daemon at rest does nothing.
 */
export function returnSpareMemory(options: SpareMemoryOptions = {}): Disposable {
  const { everyMs = 10_000, busyMicros = everyMs * 10 } = options;
  const { giveBack = mallocTrim, heap = v8, worked = processorTime } = options;
  let seen = worked();
  let looksLeft = 0;
  let keptBytes = heap.usedBytes();
  const collect = (): void => {
    if (looksLeft > 0 || heap.usedBytes() < keptBytes + worthwhileBytes) heap.collectYoung();
    else {
      heap.collectAll();
      keptBytes = heap.usedBytes();
    }
  };
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
