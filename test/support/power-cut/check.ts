import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { silentLogger } from '#common/log.ts';
import { openMetadata } from '../../../apps/core/metadata/open-metadata.ts';
import { openStores } from '../../../apps/core/stores.ts';
import { digestOf } from '../busybox-image.ts';

/** What the program has said at some point, by its notes. */
export class Promises {
  /** `blob …`, `snapshot …`, `image …` that have to be there. */
  readonly safe = new Set<string>();
  /** Files of each snapshot once it is committed, with their digests. */
  readonly contents = new Map<string, Readonly<Record<string, string>>>();

  note(what: string): void {
    const [kind = '', name = '', ...rest] = what.split(' ');
    if (kind === 'expect') this.contents.set(name, JSON.parse(rest.join(' ')) as Record<string, string>);
    else if (kind === 'forget') this.safe.delete(`${name} ${rest.join(' ')}`);
    else this.safe.add(what);
  }
}

/** Starts on what a power cut left in `dir`, and fails when anything that is there isn't whole, or a promise is broken. */
export async function checkAfterCut(dir: string, { safe, contents }: Promises): Promise<void> {
  const { db, origin } = openMetadata(dir, 'full', silentLogger());
  using _ = db;
  if (safe.size > 0) assert.equal(origin, 'kept', 'the database');
  const events = { publish: () => {}, publishTyped: () => {}, forward: () => {} };
  const stores = openStores(dir, db, events, silentLogger());
  const there = new Set<string>();
  const blobs = db.all<{ digest: string; size: number }>('SELECT digest, size FROM blobs');
  for (const { digest, size } of blobs) {
    const path = stores.content.pathOf(digest);
    assert(existsSync(path), `blob ${digest} has a record and no file`);
    const data = readFileSync(path);
    assert.equal(digestOf(data), digest, `blob ${digest} with ${data.length} of ${size} bytes`);
    there.add(`blob ${digest}`);
  }
  const committed = "SELECT id, name FROM snapshots WHERE kind = 'committed'";
  for (const { id, name } of db.all<{ id: number; name: string }>(committed)) {
    for (const [path, digest] of Object.entries(contents.get(name) ?? {})) {
      const file = join(dir, 'snapshots/overlayfs', String(id), 'fs', path);
      assert(existsSync(file), `snapshot ${name} lacks ${path}`);
      assert.equal(digestOf(readFileSync(file)), digest, `snapshot ${name}: ${path}`);
    }
    there.add(`snapshot ${name}`);
  }
  for (const { name, digest } of db.all<{ name: string; digest: string }>('SELECT name, digest FROM images')) {
    assert(there.has(`blob ${digest}`), `image ${name} lacks its target`);
    there.add(`image ${name}`);
  }
  for (const what of safe) assert(there.has(what), `${what} was safe and is gone`);
  await stores.collector.collect();
  await stores.scheduler.stop();
  stores.snapshotters.close();
  await stores.recordWriter.drain();
}
