import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
beforeEach(() => {
  dir = scratchDir();
});
afterEach(() => removeScratch(dir));

const writer = new URL('../../support/content-writer.ts', import.meta.url).pathname;

/** Lets a writer work for some time after its first commit, kills it, and answers what it was told is there. */
async function writeAndKill(afterMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [writer, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  await sleep(afterMs);
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
  return output.split('\n').slice(0, -1);
}

describe('after kill -9 at any point', () => {
  it('every blob and snapshot that was acknowledged is whole, and nothing else is left', async () => {
    for (const afterMs of [1, 17, 40, 73]) {
      const acknowledged = await writeAndKill(afterMs);
      expect(acknowledged.length).toBeGreaterThan(0);
      const stores = testStores(dir);
      await stores.collector.collect();
      const digests = new Set(stores.content.list('n').map(({ digest }) => digest));
      for (const line of acknowledged) if (line.startsWith('sha256:')) expect(digests).toContain(line);
      for (const digest of digests) {
        const data = readFileSync(stores.content.pathOf(digest));
        expect(`sha256:${createHash('sha256').update(data).digest('hex')}`).toBe(digest);
      }
      expect(readdirSync(join(dir, 'content/blobs/sha256'))).toHaveLength(digests.size);
      for (const snapshotter of stores.snapshotters.all) {
        const snapshots = [...snapshotter.list('n')];
        expect(readdirSync(snapshotter.root)).toHaveLength(snapshots.length);
        for (const { kind } of snapshots) expect(kind).toBe('committed');
        const names = snapshots.map(({ name }) => `${snapshotter.name}/${name}`);
        const made = acknowledged.filter((line) => line.startsWith(`${snapshotter.name}/`));
        expect(names).toEqual(expect.arrayContaining(made.filter((name) => !acknowledged.includes(`-${name}`))));
      }
      expect((await stores.content.listStatuses('n')).length).toBeLessThanOrEqual(1);
      await stores.close();
    }
  });
});

describe('after a commit that was cut short between its file and its record', () => {
  it('the write is told of, and the file goes with the next collection once it is aborted', async () => {
    const data = Buffer.from('in place, but in no record');
    const digest = `sha256:${createHash('sha256').update(data).digest('hex')}`;
    let stores = testStores(dir);
    await (await stores.content.writer('n', { ref: 'r', expected: digest })).close();
    await stores.close();
    writeFileSync(stores.content.pathOf(digest), data);
    stores = testStores(dir);
    await stores.collector.collect();
    expect(readdirSync(join(dir, 'content/blobs/sha256'))).toHaveLength(1);
    rmSync(join(dir, 'content/ingest'), { recursive: true });
    mkdirSync(join(dir, 'content/ingest'));
    expect(await stores.content.listStatuses('n')).toMatchObject([{ ref: 'r', offset: data.length, expected: digest }]);
    await stores.content.abort('n', 'r');
    await stores.collector.collect();
    expect(readdirSync(join(dir, 'content/blobs/sha256'))).toEqual([]);
    await stores.close();
  });
});
