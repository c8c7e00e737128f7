import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type Heap, returnSpareMemory } from '../../../apps/common/spare-memory.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Tells what is done with it. */
function heapOf(done: string[]): Heap & { garbageMb: number } {
  const heap = {
    garbageMb: 0,
    collectYoung: () => void done.push('young'),
    collectAll: () => {
      done.push('all');
      heap.garbageMb = 0;
    },
    usedBytes: () => (30 + heap.garbageMb) * 1e6,
  };
  return heap;
}

it('is given back while there is work and twice after it, then with the garbage, never at rest', () => {
  const done: string[] = [];
  const giveBack = () => void done.push('given');
  const heap = heapOf(done);
  let micros = 5_000_000;
  using _ = returnSpareMemory({ everyMs: 1_000, giveBack, heap, worked: () => micros });
  const spend = (more: number): string => {
    micros += more;
    vi.advanceTimersByTime(1_000);
    return done.splice(0).join(', ');
  };
  const work = [0, 9_000, 20_000, 30_000, 0, 20_000, 9_000, 0, 0, 9_000];
  const after = 'young, given';
  expect(work.map(spend)).toEqual(['', '', 'given', 'given', after, 'given', after, after, '', '']);
});

it('is all garbage at the second look at rest, where that is worth the time', () => {
  const done: string[] = [];
  const heap = heapOf(done);
  let micros = 0;
  using _ = returnSpareMemory({ everyMs: 1_000, giveBack: () => {}, heap, worked: () => micros });
  const workLeaves = (garbageMb: number): string => {
    micros += 500_000;
    vi.advanceTimersByTime(1_000);
    heap.garbageMb += garbageMb;
    vi.advanceTimersByTime(5_000);
    return done.splice(0).join(', ');
  };
  expect([60, 10, 5, 5].map(workLeaves)).toEqual(['young, all', 'young, young', 'young, young', 'young, all']);
});

it('is given back no more once that was ended', () => {
  const giveBack = vi.fn();
  let micros = 0;
  const returning = returnSpareMemory({ everyMs: 1_000, giveBack, worked: () => (micros += 1e6) });
  vi.advanceTimersByTime(1_000);
  returning[Symbol.dispose]();
  vi.advanceTimersByTime(5_000);
  expect(giveBack).toHaveBeenCalledOnce();
});

/** In a process of its own: tells whether its private memory shrinks by 40 MB once most of 96 MB of buffers are free. */
const fragmented = `
  import { readFileSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { mallocTrim } from '#common/native/index.ts';
  const size = () => Number(/^Private_Dirty: +(\\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))[1]);
  let buffers = Array.from({ length: 16_000 }, () => Buffer.alloc(6_000, 1));
  const before = size();
  // Some stay everywhere in between. V8 frees the others beside the collection, some time after it.
  buffers = buffers.filter((_, index) => index % 100 === 0);
  let shrunk = false;
  for (let tries = 0; tries < 300 && !shrunk; tries += 1) {
    gc();
    await sleep(10);
    mallocTrim();
    shrunk = before - size() > 40_000;
  }
  console.log(buffers.length, shrunk);
`;

it('is what lies free between buffers that stay', () => {
  const args = ['--expose-gc', '--input-type=module', '-e', fragmented];
  const output = execFileSync(process.execPath, args, { encoding: 'utf8', cwd: import.meta.dirname });
  expect(output).toBe('160 true\n');
});

/** In a process of its own: tells whether a young generation that has grown beyond 12 MB is below 4 MB after collections. */
const young = `
  import { setTimeout as sleep } from 'node:timers/promises';
  import { getHeapSpaceStatistics } from 'node:v8';
  import { collectYoungGeneration } from '#common/garbage.ts';
  const size = () => getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').physical_space_size;
  const kept = [];
  let largest = 0;
  for (let n = 0; largest < 12e6 && n < 1e8; n += 1) {
    kept[n % 60_000] = { n, text: 'x' + n };
    if (n % 20_000 === 0) largest = size();
  }
  kept.length = 0;
  for (let tries = 0; tries < 300 && size() >= 4e6; tries += 1) {
    collectYoungGeneration();
    await sleep(50);
  }
  console.log(largest >= 12e6, size() < 4e6);
`;

it('is the young generation that V8 grew for work', () => {
  const args = ['--input-type=module', '-e', young];
  const output = execFileSync(process.execPath, args, { encoding: 'utf8', cwd: import.meta.dirname });
  expect(output).toBe('true true\n');
});
