import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Database, openDatabase } from '../../../apps/core/metadata/database.ts';
import { applicationId, migrations } from '../../../apps/core/metadata/schema.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../../../apps/core/metadata/time-column.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = scratchDir();
  path = join(dir, 'meta.db');
});
afterEach(() => removeScratch(dir));

const put = (db: Database, key: string): unknown => db.run('INSERT INTO meta (key, value) VALUES (?, ?)', key, 'v');
const keys = (db: Database): string[] => db.all<{ key: string }>('SELECT key FROM meta ORDER BY key').map((r) => r.key);

describe('the metadata database', () => {
  it('keeps what a transaction wrote, also after it is opened again', () => {
    {
      using db = openDatabase(path);
      db.tx(() => put(db, 'a'));
    }
    using db = openDatabase(path);
    expect(keys(db)).toEqual(['a']);
  });

  it('keeps nothing of a transaction that throws, and passes the error on', () => {
    using db = openDatabase(path);
    const failing = (): void =>
      db.tx(() => {
        put(db, 'a');
        throw new RangeError('no');
      });
    expect(failing).toThrow(RangeError);
    expect(keys(db)).toEqual([]);
    db.tx(() => put(db, 'b'));
    expect(keys(db)).toEqual(['b']);
  });

  it('tells from a database of the first version the same times as before, in microseconds', () => {
    const first = new DatabaseSync(path);
    first.exec(migrations[0] ?? '');
    first.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = 1;
      INSERT INTO leases VALUES ('n', 'l', '{}', 1700000000123);
      INSERT INTO blobs VALUES ('n', 'sha256:1', 1, '{}', 1700000000123, 1700000000124);
      INSERT INTO ingests VALUES (1, 'n', 'r', NULL, 0, 1700000000123, 1700000000999)`);
    first.close();
    using db = openDatabase(path);
    const time = 1_700_000_000_123_000;
    expect(db.get('SELECT created_at FROM leases')).toEqual({ created_at: time });
    expect(db.get('SELECT created_at, updated_at FROM blobs')).toEqual({ created_at: time, updated_at: time + 1000 });
    expect(db.get('SELECT started_at, expires_at FROM ingests')).toEqual({
      started_at: time,
      expires_at: 1_700_000_000_999,
    });
    expect(timeFromColumn(time).toString()).toBe('2023-11-14T22:13:20.123Z');
    const now = timeNow();
    expect(timeFromColumn(timeToColumn(now)).equals(now)).toBe(true);
  });

  it('joins a transaction inside another', () => {
    using db = openDatabase(path);
    const failing = (): void =>
      db.tx(() => {
        db.tx(() => put(db, 'inner'));
        throw new Error('outer');
      });
    expect(failing).toThrow('outer');
    expect(keys(db)).toEqual([]);
  });

  it('calls back after a commit, at once outside of a transaction, and never after a rollback', () => {
    using db = openDatabase(path);
    const called = vi.fn();
    db.tx(() => {
      db.afterCommit(() => called('committed'));
      expect(called).not.toHaveBeenCalled();
    });
    expect(() =>
      db.tx(() => {
        db.afterCommit(() => called('rolled back'));
        throw new Error('no');
      }),
    ).toThrow();
    db.afterCommit(() => called('outside'));
    expect(called.mock.calls).toEqual([['committed'], ['outside']]);
  });

  it('makes commits durable for many who wait at once', async () => {
    using db = openDatabase(path);
    db.tx(() => put(db, 'a'));
    await Promise.all(Array.from({ length: 20 }, () => db.durable()));
    db.tx(() => put(db, 'b'));
    await db.durable();
  });

  it('is for its owner only', () => {
    using _db = openDatabase(path);
    for (const suffix of ['', '-wal', '-shm']) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
  });

  it('refuses a file that is no database, naming path and remedy', () => {
    writeFileSync(path, 'x'.repeat(5000));
    expect(() => openDatabase(path)).toThrow(expect.objectContaining({ code: 'data_loss' }));
    expect(() => openDatabase(path)).toThrow(new RegExp(`${path} is damaged.*puts it aside`, 's'));
  });

  it('refuses a database with damaged pages', () => {
    {
      using db = openDatabase(path);
      for (let i = 0; i < 300; i++) put(db, `${i}`.repeat(50));
    }
    const size = statSync(path).size;
    const file = Buffer.alloc(size - 4096, 0x5a);
    writeFileSync(path, file, { flag: 'r+', flush: true });
    expect(() => openDatabase(path)).toThrow(expect.objectContaining({ code: 'data_loss' }));
  });

  it('refuses a database of another program', () => {
    const other = new DatabaseSync(path);
    other.exec('CREATE TABLE t (x); PRAGMA user_version = 1; PRAGMA application_id = 7');
    other.close();
    expect(() => openDatabase(path)).toThrow(/not a Berth database/);
  });

  it('refuses the database of a newer program', () => {
    openDatabase(path).close();
    const db = new DatabaseSync(path);
    db.exec('PRAGMA user_version = 999');
    db.close();
    expect(() => openDatabase(path)).toThrow(/schema version 999.*newer berthd/);
  });

  it('names the path that cannot be opened', () => {
    const missing = join(dir, 'nowhere/meta.db');
    expect(() => openDatabase(missing)).toThrow(missing);
  });
});
