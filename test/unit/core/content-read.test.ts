import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BerthError } from '#common/errors.ts';
import { decode, encode } from '#common/wire/codec.ts';
import { readContent } from '../../../apps/core/content/content-read.ts';
import { PieceBuffers } from '../../../apps/core/content/piece-buffers.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const data = randomBytes((2 << 20) + 5000);

let dir: string;
let stores: TestStores;
let digest: string;
beforeEach(async () => {
  dir = scratchDir();
  stores = testStores(dir);
  await using writer = await stores.content.writer('n', { ref: 'data' });
  await writer.write(data);
  digest = await writer.commit();
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

function read(offset: number, size: number, { signal } = new AbortController()) {
  const request = encode('containerd.services.content.v1.ReadContentRequest', { digest, offset, size });
  const context = { namespace: 'n', signal };
  const decoded = decode('containerd.services.content.v1.ReadContentRequest', request);
  return readContent(stores.content, decoded, context, new PieceBuffers());
}

describe('Content.Read', () => {
  it.each([
    ['all', 0, 0, data],
    ['the end', 1_100_000, 0, data.subarray(1_100_000)],
    ['a part', 300, 127, data.subarray(300, 427)],
    ['a part that ends beyond the end', data.length - 128, 1000, data.subarray(-128)],
    ['nothing at the end', data.length, 0, Buffer.alloc(0)],
  ])('answers %s in messages that a client can read', async (_what, offset, size, expected) => {
    const datas: Buffer[] = [];
    let at = offset;
    for await (const piece of read(offset, size)) {
      const message = decode('containerd.services.content.v1.ReadContentResponse', Buffer.from(piece.message));
      piece.sent();
      expect(message.offset).toBe(String(at));
      at += message.data.length;
      datas.push(message.data);
    }
    expect(Buffer.concat(datas).equals(expected)).toBe(true);
  });

  it('has two messages on their way at most, and ends with its call', async () => {
    const call = new AbortController();
    const pieces = read(0, 0, call);
    const first = await pieces.next();
    await pieces.next();
    const third = pieces.next();
    first.value?.sent();
    await expect(third).resolves.toMatchObject({ done: false });
    const fourth = pieces.next();
    call.abort(new BerthError('canceled', 'the client went away'));
    await expect(fourth).rejects.toMatchObject({ code: 'canceled' });
    await expect(pieces.next()).resolves.toMatchObject({ done: true });
  });

  it('refuses to begin past the end', async () => {
    await expect(Array.fromAsync(read(data.length + 1, 0))).rejects.toMatchObject({ code: 'out_of_range' });
  });
});
