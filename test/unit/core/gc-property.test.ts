import { randomInt } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../../../apps/core/metadata/database.ts';
import { type TestStores, testStores } from '../../support/core-stores.ts';
import { randomWorld, smaller, survivors, type World } from '../../support/gc-world.ts';
import { Random } from '../../support/random.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

const rounds = 200;

let dir: string;
let stores: TestStores;
beforeEach(() => {
  dir = scratchDir();
  stores = testStores(dir);
});
afterEach(async () => {
  await stores.close();
  removeScratch(dir);
});

/** Makes the database hold a world and nothing else. */
function fill(db: Database, world: World): void {
  const add = (table: string, row: Record<string, string | number | null>): number =>
    db.run(
      `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${Object.keys(row).fill('?').join(', ')})`,
      ...Object.values(row),
    ).lastInsertRowid;
  const times = { created_at: 0, updated_at: 0 };
  db.tx(() => {
    for (const table of ['leases', 'images', 'blobs', 'ingests', 'containers', 'sandboxes'])
      db.run(`DELETE FROM ${table}`);
    db.run('PRAGMA defer_foreign_keys = ON');
    db.run('DELETE FROM snapshots');
    for (const { ns, id, digest, labels } of world.images) {
      const target = { digest, media_type: 'application/x', size: 1, annotations: '{}' };
      add('images', { ns, name: id, ...target, labels: JSON.stringify(labels), ...times });
    }
    for (const { ns, id, labels } of world.blobs) {
      add('blobs', { ns, digest: id, size: 1, labels: JSON.stringify(labels), ...times });
    }
    for (const { ns, id, expected, expiresAt } of world.ingests) {
      add('ingests', { ns, ref: id, expected, total: 0, started_at: 0, expires_at: expiresAt });
    }
    const ids = new Map<string, number>();
    for (const { ns, id, parent, labels } of world.snapshots) {
      const [snapshotter = '', name = ''] = id.split('/');
      const row = { ns, snapshotter, name, kind: 'committed', parent: ids.get(`${ns} ${parent}`) ?? null };
      ids.set(`${ns} ${id}`, add('snapshots', { ...row, labels: JSON.stringify(labels), ...times }));
    }
    for (const { ns, id, snapshot, labels } of world.containers) {
      const [snapshotter = '', snapshot_key = ''] = snapshot?.split('/') ?? [];
      const rest = { image: '', runtime_name: 'r', sandbox: '', snapshotter, snapshot_key };
      add('containers', { ns, id, ...rest, labels: JSON.stringify(labels), ...times });
    }
    for (const { ns, id, labels } of world.sandboxes) {
      add('sandboxes', { ns, id, sandboxer: '', runtime_name: 'r', labels: JSON.stringify(labels), ...times });
    }
    for (const { ns, id, labels, resources } of world.leases) {
      add('leases', { ns, id, labels: JSON.stringify(labels), created_at: 0 });
      for (const [type, resource] of new Map(resources.map((one) => [one.join(), one])).values()) {
        add('lease_resources', { ns, lease: id, type, resource });
      }
    }
  });
}

/** What is in the database, by the names that the model uses. */
function remaining(db: Database): string[] {
  return db
    .all<{ name: string }>(
      `SELECT 'image ' || ns || ' ' || name AS name FROM images
       UNION ALL SELECT 'blob ' || ns || ' ' || digest FROM blobs
       UNION ALL SELECT 'ingest ' || ns || ' ' || ref FROM ingests
       UNION ALL SELECT 'snapshot ' || ns || ' ' || snapshotter || '/' || name FROM snapshots
       UNION ALL SELECT 'lease ' || ns || ' ' || id FROM leases`,
    )
    .map(({ name }) => name);
}

/** What a collection kept or took against the model's opinion, one line each. */
async function differences(world: World, now: number): Promise<string[]> {
  fill(stores.db, world);
  try {
    await stores.collector.collect();
  } catch (error) {
    return [`failed: ${error}`];
  }
  const left = new Set(remaining(stores.db));
  const expected = survivors(world, now);
  return [
    ...[...expected].filter((name) => !left.has(name)).map((name) => `taken: ${name}`),
    ...[...left].filter((name) => !expected.has(name)).map((name) => `left: ${name}`),
  ];
}

describe('a collection of random resources', () => {
  it('takes what a second, independent reading of the rules calls garbage, and nothing else', async () => {
    const now = Date.now();
    const first = Number(process.env.BERTH_SEED ?? randomInt(2 ** 31));
    for (let seed = first; seed < first + rounds; seed++) {
      let world = randomWorld(new Random(seed), now);
      let found = await differences(world, now);
      if (found.length === 0) continue;
      for (let shrunk = true; shrunk; ) {
        shrunk = false;
        for (const candidate of smaller(world)) {
          const still = await differences(candidate, now);
          if (still.length === 0) continue;
          [world, found, shrunk] = [candidate, still, true];
          break;
        }
      }
      expect.fail(`BERTH_SEED=${seed}: ${found.join('; ')} in\n${JSON.stringify(world, null, 1)}`);
    }
  });
});
