import { once } from 'node:events';
import { constants, createDeflate } from 'node:zlib';
import { expect, test } from 'vitest';
import { dictionary } from '../../../apps/cri-shim/streaming/spdy/dictionary.ts';

// Every SPDY/3 header block begins with these bytes in any implementation: RFC 1950 puts the dictionary's Adler-32 there.
test('the dictionary is the one that all of SPDY/3 uses', async () => {
  const deflate = createDeflate({ dictionary });
  deflate.write('x');
  deflate.flush(constants.Z_SYNC_FLUSH);
  const [block] = (await once(deflate, 'data')) as [Buffer];
  expect((block[1] ?? 0) & 0x20).toBe(0x20);
  expect(block.readUInt32BE(2)).toBe(0xe3c6a7c2);
});
