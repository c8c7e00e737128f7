import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { BerthError, isCode } from '#common/errors.ts';
import { Limiter } from '../../../apps/core/transfer/limiter.ts';
import { type RangedSource, rangedBlob } from '../../../apps/core/transfer/ranged-blob.ts';
import { Random } from '../../support/random.ts';

const MIB = 1024 * 1024;
const blob = new Random(1).bytes(9 * MIB + 1234);

function source(read: RangedSource['read']): RangedSource {
  const retry = { attempts: 3, firstDelayMs: 0, maxDelayMs: 0, maxRetryAfterMs: 0 };
  return { read, size: blob.length, connections: new Limiter(3), retry, signal: new AbortController().signal };
}

/** What comes, copied: a piece is good until the next one is asked for. */
async function received(data: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of data) {
    pieces.push(Buffer.from(piece));
    await turn();
  }
  return Buffer.concat(pieces);
}

it('hands out parts that come side by side, and break off, in their order', async () => {
  const random = new Random(2);
  const data = rangedBlob(
    source(async function* ({ offset, end }) {
      for (let at = offset; at < end; ) {
        const next = Math.min(end, at + 1 + random.int(300_000));
        yield blob.subarray(at, next);
        at = next;
        if (random.chance(0.2)) throw new BerthError('unavailable', 'broken off');
        await turn();
      }
    }),
    777,
  );
  expect((await received(data)).equals(blob.subarray(777))).toBe(true);
});

it('takes no byte more than it asked for', async () => {
  const data = rangedBlob(
    source(async function* ({ offset, end }) {
      yield blob.subarray(offset, end);
      if (end === blob.length) yield Buffer.alloc(1);
    }),
    0,
  );
  await expect(received(data)).rejects.toSatisfy((error) => isCode(error, 'data_loss'));
});
