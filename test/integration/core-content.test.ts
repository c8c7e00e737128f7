import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Berthd, startBerthd } from '../support/berthd.ts';
import { digestOf } from '../support/busybox-image.ts';
import { removeScratch, scratchDir } from '../support/scratch.ts';
import { waitFor } from '../support/wait-for.ts';

let dir: string;
let berthd: Berthd;
beforeAll(async () => {
  dir = scratchDir();
  berthd = await startBerthd({ dir });
});
afterAll(async () => {
  await berthd?.daemon.stop();
  removeScratch(dir);
});

const data = randomBytes(60_000_000);
const digest = digestOf(data);

function ctr(args: readonly string[], input?: Buffer): Buffer {
  const all = ['--address', berthd.socket, ...args];
  return execFileSync('ctr', all, { maxBuffer: 1 << 27, stdio: ['pipe', 'pipe', 'inherit'], ...(input && { input }) });
}

describe('content through ctr', () => {
  it('goes in and comes out the same, though every 32 KiB are a call that the client cancels', () => {
    ctr(['content', 'ingest', '--expected-digest', digest, '--expected-size', String(data.length), 'ref'], data);
    ctr(['content', 'label', digest, 'containerd.io/gc.root=test']);
    expect(ctr(['content', 'get', digest]).equals(data)).toBe(true);
  });

  it('is stored once for two namespaces, the second of which sends no bytes, and goes when both have forgotten it', async () => {
    const args = ['content', 'ingest', '--expected-digest', digest, '--expected-size', String(data.length), 'ref'];
    ctr(['--namespace', 'second', ...args], Buffer.alloc(0));
    expect(ctr(['--namespace', 'second', 'content', 'ls', '--quiet']).toString().trim()).toBe(digest);
    expect(readdirSync(join(berthd.root, 'content/blobs/sha256'))).toHaveLength(1);
    ctr(['--namespace', 'second', 'content', 'rm', digest]);
    ctr(['content', 'rm', digest]);
    await waitFor('the collection', async () => readdirSync(join(berthd.root, 'content/blobs/sha256')).length === 0);
  });
});
