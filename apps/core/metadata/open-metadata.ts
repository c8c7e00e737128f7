import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { BerthError, isCode, messageOf } from '#common/errors.ts';
import { flush } from '#common/flush.ts';
import type { Logger } from '#common/log.ts';
import { BackupFiles } from './backup-files.ts';
import { type Database, type DatabaseOptions, openDatabase } from './database.ts';
import { applicationId } from './schema.ts';

/** How far the database is checked when it is opened; backups check every page, off the main thread. */
export const startChecks = ['quick', 'full', 'off'] as const;
export type StartCheck = (typeof startChecks)[number];

/** A quick check reads the whole file: beyond this many bytes (some 0.2 s) it is left to the next backup. */
const quickCheckBytes = 128 << 20;

export interface OpenedMetadata {
  readonly db: Database;
  readonly backups: BackupFiles;
  /**
   * Where its records come from. `kept`: the file, whole, or this root is new. `backup`: a copy, which may lack the latest
   * changes. `lost`: nowhere, although this root may have been in use.
   */
  readonly origin: 'kept' | 'backup' | 'lost';
  /** To be called once the records are made whole: until then every start finds the same origin. */
  readonly recovered: () => void;
}

/**
 * Opens `<root>/meta.db`, whatever became of it. A damaged file is put aside in `<root>/damaged`, never deleted; in its
 * place, or in that of one that is missing, comes the newest backup that is whole.
 * @throws failed_precondition for a database that isn't ours or is newer than this program; by errno when root can't be
 *   written.
 */
export function openMetadata(root: string, check: StartCheck, log: Logger): OpenedMetadata {
  const path = join(root, 'meta.db');
  const backups = new BackupFiles(join(root, 'backups'));
  const options: DatabaseOptions = {
    onDamage: (record, error) => log.error({ record, err: error }, 'a damaged record is passed over'),
  };
  const unfinished = join(root, 'rebuild');
  const recovered = () => {
    rmSync(unfinished, { force: true });
    flush(root);
  };
  const opened = (db: Database, origin: OpenedMetadata['origin']): OpenedMetadata => ({
    db,
    backups,
    origin,
    recovered,
  });
  if (sizeOf(path) > 0) {
    const db = openUndamaged(path, { ...options, check: effectiveCheck(path, check, log) }, log);
    if (db) return opened(durably(db, root), existsSync(unfinished) ? 'lost' : 'kept');
  }
  putAside(root, log);
  writeFileSync(unfinished, '');
  const backup = backups.list().find((copy) => isWhole(copy, log));
  if (backup !== undefined) {
    putInPlace(backup, path);
    log.warn({ path, backup }, 'metadata restored from a backup; the latest changes may be missing');
    return opened(durably(openDatabase(path, options), root), 'backup');
  }
  return opened(durably(openDatabase(path, options), root), 'lost');
}

/** undefined when it is damaged. */
function openUndamaged(path: string, options: DatabaseOptions, log: Logger): Database | undefined {
  try {
    return openDatabase(path, options);
  } catch (error) {
    if (!isCode(error, 'data_loss')) throw error;
    log.error({ path, err: error }, 'the metadata database is damaged');
    return undefined;
  }
}

function effectiveCheck(path: string, check: StartCheck, log: Logger): StartCheck {
  const bytes = sizeOf(path);
  if (check !== 'quick' || bytes <= quickCheckBytes) return check;
  log.info({ path, bytes }, 'the metadata database is large: it is checked with the next backup, not now');
  return 'off';
}

/** The names of a new database and its log reach the disk before anybody relies on what is in them. */
function durably(db: Database, root: string): Database {
  flush(root);
  return db;
}

/** Moves the database away with its log, which would be taken for the log of the next one. */
function putAside(root: string, log: Logger): void {
  const files = ['meta.db', 'meta.db-wal', 'meta.db-shm'].filter((name) => existsSync(join(root, name)));
  // Nothing was ever in it.
  if (files.every((name) => sizeOf(join(root, name)) === 0)) {
    for (const name of files) rmSync(join(root, name));
    return;
  }
  const directory = newDirectory(join(root, 'damaged'));
  for (const name of files) renameSync(join(root, name), join(directory, name));
  log.error({ directory, files }, 'put the damaged metadata database aside; delete it when nobody needs it any more');
}

/** `<parent>/<time>`, or with a number behind it. */
function newDirectory(parent: string): string {
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const time = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  for (let number = 1; ; number++) {
    const directory = join(parent, number === 1 ? time : `${time}-${number}`);
    if (existsSync(directory)) continue;
    mkdirSync(directory, { mode: 0o700 });
    return directory;
  }
}

function isWhole(copy: string, log: Logger): boolean {
  let finding: string | undefined;
  try {
    using db = new DatabaseSync(copy, { readOnly: true });
    const ours =
      (db.prepare('PRAGMA application_id').get() as { application_id: number }).application_id === applicationId;
    const [row] = db.prepare('PRAGMA integrity_check(1)').all() as { integrity_check: string }[];
    finding = ours ? row?.integrity_check : 'not a Berth database';
  } catch (error) {
    finding = messageOf(error);
  }
  if (finding !== 'ok') log.error({ backup: copy, finding }, 'a backup of the metadata is damaged');
  return finding === 'ok';
}

function putInPlace(backup: string, path: string): void {
  const unfinished = `${path}.restoring`;
  try {
    copyFileSync(backup, unfinished);
    flush(unfinished);
    renameSync(unfinished, path);
  } catch (error) {
    throw BerthError.from(error, `restore ${path} from ${backup}`);
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
