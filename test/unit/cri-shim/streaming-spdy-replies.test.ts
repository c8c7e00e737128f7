import { createInflate } from 'node:zlib';
import { expect, test } from 'vitest';
import { dictionary } from '../../../apps/cri-shim/streaming/spdy/dictionary.ts';
import { HeaderCodec } from '../../../apps/cri-shim/streaming/spdy/header-codec.ts';

/** What zlib ends a flush with. */
const FLUSHED = Buffer.from([0x00, 0x00, 0x00, 0xff, 0xff]);

test('the header blocks of replies are one zlib stream, each of no headers', async () => {
  const codec = new HeaderCodec();
  const inflate = createInflate({ dictionary });
  for (let reply = 0; reply < 3; reply++) {
    const block = codec.encodeNone();
    expect(block.subarray(-FLUSHED.length)).toEqual(FLUSHED);
    inflate.write(block);
  }
  const blocks: Buffer[] = [];
  for await (const chunk of inflate) {
    blocks.push(chunk as Buffer);
    if (Buffer.concat(blocks).length === 12) break;
  }
  expect(Buffer.concat(blocks)).toEqual(Buffer.alloc(12));
  codec.close();
});
