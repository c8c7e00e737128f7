import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger, type Logger, silentLogger } from '#common/log.ts';
import { BackupFiles } from '../../../apps/core/metadata/backup-files.ts';
import { Backups } from '../../../apps/core/metadata/backups.ts';
import { type Database, openDatabase } from '../../../apps/core/metadata/database.ts';
import { openMetadata } from '../../../apps/core/metadata/open-metadata.ts';
import { removeScratch, scratchDir } from '../../support/scratch.ts';
import { waitFor } from '../../support/wait-for.ts';

let root: string;
let path: string;
beforeEach(() => {
  root = scratchDir();
  path = join(root, 'meta.db');
});
afterEach(() => removeScratch(root));

const put = (db: Database, key: string): unknown => db.run('INSERT INTO meta (key, value) VALUES (?, ?)', key, 'v');
const keys = (db: Database): string[] => db.all<{ key: string }>('SELECT key FROM meta ORDER BY key').map((r) => r.key);
const copies = (): string[] => readdirSync(join(root, 'backups'));

/** Backups of an open database that are made when a test says so. */
function backupsOf(db: Database, options: { keep?: number; intervalMs?: number; changes?: number } = {}): Backups {
  const files = new BackupFiles(join(root, 'backups'));
  return new Backups({ db, files, keep: 3, intervalMs: 1e8, changes: 1e8, log: silentLogger(), ...options });
}

/** A database with one copy per key, each copy holding the keys so far. */
async function withCopies(...all: readonly string[]): Promise<void> {
  using db = openDatabase(path);
  await using backups = backupsOf(db);
  for (const key of all) {
    put(db, key);
    await backups.make();
  }
}

function damage(file: string): void {
  const bytes = readFileSync(file);
  bytes.fill(0x5a, 4096);
  writeFileSync(file, bytes);
}

/** What openMetadata finds, and the lines it logs. */
function open(check: 'quick' | 'full' = 'quick'): { keys: string[]; origin: string; log: string } {
  const lines: string[] = [];
  const log: Logger = createLogger({ name: 'test', destination: { write: (line: string) => void lines.push(line) } });
  const { db, origin, recovered } = openMetadata(root, check, log);
  using _ = db;
  recovered();
  return { keys: keys(db), origin, log: lines.join('') };
}

describe('backups of the metadata', () => {
  it('hold everything up to the moment they are made, and keep the mode and version of the original', async () => {
    await withCopies('a', 'b');
    expect(copies()).toEqual(['00000001.db', '00000002.db']);
    using first = openDatabase(join(root, 'backups/00000001.db'));
    expect(keys(first)).toEqual(['a']);
    expect(statSync(join(root, 'backups/00000002.db')).mode & 0o777).toBe(0o600);
    expect(statSync(join(root, 'backups')).mode & 0o777).toBe(0o700);
  });

  it('are as many as are to be kept, the newest ones', async () => {
    await withCopies('a', 'b', 'c', 'd', 'e');
    expect(copies()).toEqual(['00000003.db', '00000004.db', '00000005.db']);
  });

  it('are made after so many changes', async () => {
    using db = openDatabase(path);
    await using _ = backupsOf(db, { changes: 3 });
    for (const key of ['a', 'b', 'c']) put(db, key);
    await waitFor('a backup', () => existsSync(join(root, 'backups/00000001.db')));
  });

  it('are made some time after a change, while the daemon goes on writing', async () => {
    using db = openDatabase(path);
    await using _ = backupsOf(db, { intervalMs: 1 });
    db.tx(() => put(db, 'a'));
    let written = 0;
    await waitFor('a backup', () => {
      put(db, `b${written++}`);
      return existsSync(join(root, 'backups/00000001.db'));
    });
    using copy = openDatabase(join(root, 'backups/00000001.db'));
    expect(keys(copy)).toContain('a');
  });

  it('are not made of a damaged database: the good ones stay', async () => {
    await withCopies('a');
    {
      using db = openDatabase(path);
      for (let i = 0; i < 300; i++) put(db, `${i}`.repeat(50));
    }
    using db = openDatabase(path);
    await using backups = backupsOf(db);
    damage(path);
    await expect(backups.make()).rejects.toThrow();
    expect(copies()).toEqual(['00000001.db']);
  });
});

describe('opening the metadata', () => {
  it('keeps a file that is whole', async () => {
    await withCopies('a');
    expect(open()).toMatchObject({ keys: ['a'], origin: 'kept', log: '' });
    expect(existsSync(join(root, 'damaged'))).toBe(false);
  });

  it.each([
    ['with other bytes in it', () => damage(path)],
    ['with another beginning', () => writeFileSync(path, 'x'.repeat(8192))],
    ['that was cut off', () => truncateSync(path, 5000)],
    ['of nothing but zeros', () => writeFileSync(path, Buffer.alloc(8192))],
  ])('puts a file %s aside and restores the newest backup', async (_, spoil) => {
    await withCopies('a', 'b');
    spoil();
    writeFileSync(`${path}-wal`, 'its log');
    const { keys, origin, log } = open();
    expect({ keys, origin }).toEqual({ keys: ['a', 'b'], origin: 'backup' });
    const [aside = ''] = readdirSync(join(root, 'damaged'));
    expect(readdirSync(join(root, 'damaged', aside))).toContain('meta.db');
    expect(log).toContain(join(root, 'damaged', aside));
    expect(log).toContain('backups/00000002.db');
    expect(open()).toMatchObject({ keys: ['a', 'b'], origin: 'kept' });
  });

  it('finds a damaged index when all of it is to be checked', async () => {
    await withCopies('a');
    const db = new DatabaseSync(path);
    db.enableDefensive(false);
    db.exec(`INSERT INTO blobs VALUES ('n', 'd', 1, '{}', 0, 0);
      PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '(digest)', '(size)') WHERE name = 'blobs_by_digest'`);
    db.close();
    expect(open('quick').origin).toBe('kept');
    expect(open('full').origin).toBe('backup');
  });

  it('restores a file that is missing, without the log of the old one', async () => {
    await withCopies('a');
    rmSync(path);
    writeFileSync(`${path}-wal`, 'of the one that is missing');
    expect(open()).toMatchObject({ keys: ['a'], origin: 'backup' });
  });

  it('passes over backups that are damaged', async () => {
    await withCopies('a', 'b', 'c');
    damage(join(root, 'backups/00000003.db'));
    writeFileSync(join(root, 'backups/00000002.db'), '');
    rmSync(path);
    const { keys, log } = open();
    expect(keys).toEqual(['a']);
    expect(log).toContain('00000003.db');
  });

  it('begins anew when nothing can be restored', async () => {
    await withCopies('a');
    damage(join(root, 'backups/00000001.db'));
    damage(path);
    expect(open()).toMatchObject({ keys: [], origin: 'lost' });
  });

  it('keeps every damaged file, also when two are found in one second', async () => {
    await withCopies('a');
    for (let round = 0; round < 3; round++) {
      damage(path);
      expect(open().origin).toBe('backup');
    }
    expect(readdirSync(join(root, 'damaged'))).toHaveLength(3);
  });
});
