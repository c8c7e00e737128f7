/**
 * Lines that tell their number and can be checked for it: `writeLines` as a program of its own (arguments: FIFO,
 * number of lines, pause in milliseconds after each hundred), `numberedLine` for the reader.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Line `n` without its newline: short, empty-ish, with carriage returns inside, and now and then very long. */
export function numberedLine(n: number): string {
  const filler = n % 97 === 0 ? 20_000 : (n * 31) % 120;
  return `${n} ${'x\ry'.repeat(n % 5)}${'.'.repeat(filler)}`;
}

async function writeLines(fifo: string, count: number, pauseMs: number): Promise<void> {
  const fd = openSync(fifo, 'w');
  for (let n = 0; n < count; n += 100) {
    const lines = Array.from({ length: Math.min(100, count - n) }, (_, i) => `${numberedLine(n + i)}\n`);
    const bytes = Buffer.from(lines.join(''), 'latin1');
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at);
    await sleep(pauseMs);
  }
  closeSync(fd);
}

if (import.meta.main) {
  const [fifo = '', count = '', pauseMs = ''] = process.argv.slice(2);
  await writeLines(fifo, Number(count), Number(pauseMs));
}
