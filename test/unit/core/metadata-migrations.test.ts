import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applicationId, migrations } from '../../../apps/core/metadata/schema.ts';
import { testStores } from '../../support/core-stores.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
beforeEach(() => {
  dir = scratchDir();
});
afterEach(() => removeScratch(dir));

const digest = `sha256:${'a'.repeat(64)}`;
const [created, updated] = [1_700_000_000_123, 1_700_000_000_456];
const times = {
  createdAt: Temporal.Instant.fromEpochMilliseconds(created),
  updatedAt: Temporal.Instant.fromEpochMilliseconds(updated),
};

/** A database as the berthd of that schema version left it, with a record of every kind. */
function writeVersion(version: number): void {
  const db = new DatabaseSync(join(dir, 'meta.db'));
  for (const script of migrations.slice(0, version)) db.exec(script);
  // The first version told times in milliseconds.
  const unit = version === 1 ? 1 : 1000;
  const at = `${created * unit}, ${updated * unit}`;
  const labels = `'{"l":"1"}'`;
  db.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version};
    INSERT INTO meta VALUES ('uuid', 'u-1');
    INSERT INTO namespaces VALUES ('n', ${labels});
    INSERT INTO containers VALUES ('n', 'c', 'image', 'runc', 'opts', x'01', 'spec', x'7b7d', 'overlayfs', 'active', 's',
      ${labels}, ${at});
    INSERT INTO container_extensions VALUES ('n', 'c', 'e', 'type', x'02');
    INSERT INTO images VALUES ('n', 'i', 'media', '${digest}', 5, '{"x":"y"}', ${labels}, ${at});
    INSERT INTO blobs VALUES ('n', '${digest}', 5, ${labels}, ${at});
    INSERT INTO ingests VALUES (7, 'n', 'ref', '${digest}', 9, ${created * unit}, ${updated});
    INSERT INTO snapshots VALUES (1, 'n', 'overlayfs', 'base', 'committed', NULL, ${labels}, 10, 2, ${at});
    INSERT INTO snapshots VALUES (2, 'n', 'overlayfs', 'active', 'active', 1, ${labels}, NULL, NULL, ${at});
    INSERT INTO leases VALUES ('n', 'l', ${labels}, ${created * unit});
    INSERT INTO lease_resources VALUES ('n', 'l', 'content', '${digest}');`);
  if (version >= 3) {
    db.exec(`INSERT INTO sandboxes VALUES ('n', 's', 'shim', 'runc', 'opts', x'01', 'spec', x'7b7d', ${labels}, ${at});
      INSERT INTO sandbox_extensions VALUES ('n', 's', 'e', 'type', x'02')`);
  }
  db.close();
}

describe('a database of schema version', () => {
  for (let version = 1; version <= migrations.length; version++) {
    it(`${version} is read by this berthd with everything in it`, async () => {
      writeVersion(version);
      const stores = testStores(dir);
      const { db, namespaces, containers, images, content, snapshotter, leases, sandboxes } = stores;
      const labels = { l: '1' };
      expect(db.get('PRAGMA user_version')).toEqual({ user_version: migrations.length });
      expect(db.get("SELECT value FROM meta WHERE key = 'uuid'")).toEqual({ value: 'u-1' });
      expect(namespaces.list()).toEqual([{ name: 'n', labels }]);
      expect(containers.list('n')).toEqual([
        {
          id: 'c',
          labels,
          image: 'image',
          runtime: { name: 'runc', options: { typeUrl: 'opts', value: new Uint8Array([1]) } },
          spec: { typeUrl: 'spec', value: new Uint8Array([0x7b, 0x7d]) },
          snapshotter: 'overlayfs',
          snapshotKey: 'active',
          sandbox: 's',
          extensions: { e: { typeUrl: 'type', value: new Uint8Array([2]) } },
          ...times,
        },
      ]);
      const target = { digest, size: 5, mediaType: 'media', annotations: { x: 'y' } };
      expect(images.list('n')).toEqual([{ name: 'i', target, labels, ...times }]);
      expect(content.list('n')).toEqual([{ digest, size: 5, labels, ...times }]);
      const write = { id: 7, ns: 'n', ref: 'ref', expected: digest, total: 9, expires_at: updated };
      expect(db.get('SELECT * FROM ingests')).toEqual({ ...write, started_at: created * 1000 });
      expect([...snapshotter.list('n')]).toEqual([
        { name: 'active', kind: 'active', parent: 'base', labels, ...times },
        { name: 'base', kind: 'committed', parent: undefined, labels, ...times },
      ]);
      expect(await snapshotter.usage('n', 'base')).toEqual({ size: 10, inodes: 2 });
      expect(leases.list('n')).toEqual([{ id: 'l', labels, createdAt: times.createdAt }]);
      expect(leases.resources('n', 'l')).toEqual([{ type: 'content', id: digest }]);
      if (version >= 3) expect(sandboxes.list('n')).toMatchObject([{ id: 's', labels, ...times }]);
      // New records take their places after the old ones.
      await snapshotter.prepare('n', 'new', '');
      expect(db.get("SELECT id FROM snapshots WHERE name = 'new'")).toEqual({ id: 3 });
      await stores.close();
    });
  }

  it('is the same whether it was migrated step by step or made by this berthd', async () => {
    const schemaOf = (path: string) => {
      const db = new DatabaseSync(path);
      const rows = db.prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name').all();
      db.close();
      return rows;
    };
    writeVersion(1);
    await testStores(dir).close();
    const migrated = schemaOf(join(dir, 'meta.db'));
    const fresh = scratchDir();
    await testStores(fresh).close();
    expect(migrated).toEqual(schemaOf(join(fresh, 'meta.db')));
    removeScratch(fresh);
  });
});
