import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, writeFileSync } from 'node:fs';
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
  writeFileSync(join(dir, 'data'), data);
  berthd = await startBerthd({ dir });
});
afterAll(async () => {
  await berthd?.daemon.stop();
  removeScratch(dir);
});

const data = randomBytes(60_000_000);
const digest = digestOf(data);
const size = String(data.length);
const ingest = ['content', 'ingest', '--expected-digest', digest, '--expected-size', size, 'ref'];

function ctr(...args: string[]): Buffer {
  // A file as its input lets ctr skip what the daemon has already.
  const input = openSync(join(dir, 'data'), 'r');
  try {
    const all = ['--address', berthd.socket, ...args];
    return execFileSync('ctr', all, { maxBuffer: 1 << 27, stdio: [input, 'pipe', 'inherit'] });
  } finally {
    closeSync(input);
  }
}

describe('content through ctr', () => {
  it('goes in and comes out the same, though every 32 KiB are a call that the client cancels', () => {
    ctr(...ingest);
    ctr('content', 'label', digest, 'containerd.io/gc.root=test');
    expect(ctr('content', 'get', digest).equals(data)).toBe(true);
  });

  it('is stored once for two namespaces and goes when both have forgotten it', async () => {
    ctr('--namespace', 'second', ...ingest);
    expect(ctr('--namespace', 'second', 'content', 'ls', '--quiet').toString().trim()).toBe(digest);
    expect(readdirSync(join(berthd.root, 'content/blobs/sha256'))).toHaveLength(1);
    ctr('--namespace', 'second', 'content', 'rm', digest);
    ctr('content', 'rm', digest);
    await waitFor('the collection', async () => readdirSync(join(berthd.root, 'content/blobs/sha256')).length === 0);
  });
});
