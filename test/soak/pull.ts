import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { startBerthd } from '../support/berthd.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { PacedBlobs, type ServedBlob } from '../support/paced-blobs.ts';
import { killPulls } from '../support/pull-kills.ts';
import { imageOf } from '../support/raw-image.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { pull } from '../support/transfers.ts';
import type { SoakOptions } from './main.ts';

const BLOCK = 1024 * 1024;
const BLOCKS = 2048;

/** Kills berthd 50 times amid pulls, then pulls a layer of 2 GiB that is made as it is served. */
export async function pullSoak({ seed, rounds = 50, tell }: SoakOptions): Promise<void> {
  const dir = scratchDir();
  tell(JSON.stringify(await killPulls({ dir, seed, points: rounds, layerSize: 64 * BLOCK, tell })));
  removeScratch(dir);
  await pullGiant(tell);
}

async function pullGiant(tell: SoakOptions['tell']): Promise<void> {
  const dir = scratchDir();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => removeScratch(dir));
  const registry = stack.use(await FakeRegistry.start());
  const berthd = await startBerthd({ dir, logLevel: 'info' });
  stack.use(berthd.daemon);
  const clients = stack.use(berthd.clients('giant'));
  const layer = giantBlob();
  const { digest, size } = layer;
  const reference = registry.add(imageOf([{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size }]));
  const blobs = new PacedBlobs([layer]);
  registry.intercept = blobs.intercept;
  const begin = performance.now();
  await pull(clients, reference, { unpack: false });
  const seconds = (performance.now() - begin) / 1000;
  const { info } = await clients.content.info({ digest });
  assert.equal(info?.size, String(size));
  assert.equal(blobs.sent.get(digest), size, 'bytes sent');
  const peak = /VmHWM:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${berthd.daemon.pid}/status`, 'utf8'))?.[1];
  const requests = registry.requestsFor(digest).length;
  tell(`2 GiB in ${seconds.toFixed(1)} s and ${requests} requests, peak memory ${Math.round(Number(peak) / 1024)} MiB`);
}

/** Each of its blocks begins with its number. */
function giantBlob(): ServedBlob {
  const block = Buffer.alloc(BLOCK, 'berth');
  const blockAt = (index: number): Buffer => {
    block.writeUInt32LE(index);
    return block;
  };
  const hash = createHash('sha256');
  for (let index = 0; index < BLOCKS; index++) hash.update(blockAt(index));
  // Pieces lie within blocks: their size divides that of a block.
  const read = (start: number, end: number): Buffer => {
    const offset = start % BLOCK;
    return Buffer.from(blockAt(Math.floor(start / BLOCK)).subarray(offset, offset + end - start));
  };
  return { digest: `sha256:${hash.digest('hex')}`, size: BLOCK * BLOCKS, read };
}
