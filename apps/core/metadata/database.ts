import { close, closeSync, fdatasync, openSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { BerthError } from '#common/errors.ts';
import { errnoOf } from '#common/node-error.ts';
import { RowQuery } from './row-query.ts';
import { applicationId, migrations } from './schema.ts';

const sync = promisify(fdatasync);

/**
 * Pages of 4 KiB that the log takes before what it holds goes into the database, which waits for the disk twice. In 16 MB
 * a page that is written again and again is there often and copied once.
 */
const pagesPerCheckpoint = 4000;

/**
 * The daemon's one connection to its SQLite database. Calls are synchronous, so that a transaction can't interleave with
 * another one; they take microseconds because no commit waits for the disk.
 *
 * Durability: WAL with synchronous=NORMAL. A commit survives the death of the daemon (the kernel has the bytes), and a
 * power cut leaves the database whole, though it may lose the last commits, always the newest first. Where a
 * commit must outlast a power cut (before files are deleted that it forgot, before a client is told that an image is
 * there) the caller awaits {@link durable}, which syncs the log off the main thread, once for all who wait. A commit
 * that syncs by itself would hold the whole daemon for some 3 ms on ordinary disks.
 */
export class Database implements Disposable {
  readonly path: string;
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #queries = new Map<string, RowQuery>();
  readonly #walFd: number;
  readonly #onDamage: DatabaseOptions['onDamage'];
  readonly #damaged = new Set<string>();
  #inTransaction = false;
  #afterCommit: (() => void)[] = [];
  readonly #onCommit: (() => void)[] = [];
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;

  /** Use {@link openDatabase}. `walFd` is an open descriptor of the write-ahead log, owned by the database from now on. */
  constructor(path: string, db: DatabaseSync, walFd: number, { onDamage }: DatabaseOptions = {}) {
    this.path = path;
    this.#db = db;
    this.#walFd = walFd;
    this.#onDamage = onDamage;
  }

  /** A prepared statement, kept for the next caller with the same text. */
  prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** The first row, if any. */
  get<Row>(sql: string, ...params: SQLInputValue[]): Row | undefined {
    return this.#guard(() => this.#query(sql).get(params)) as Row | undefined;
  }

  all<Row>(sql: string, ...params: SQLInputValue[]): Row[] {
    return this.#guard(() => this.#query(sql).all(params)) as Row[];
  }

  /** Runs a change; answers the number of rows it touched and the id of the row it inserted. */
  run(sql: string, ...params: SQLInputValue[]): { changes: number; lastInsertRowid: number } {
    const { changes, lastInsertRowid } = this.#guard(() => this.prepare(sql).run(...params));
    if (!this.#inTransaction) this.#committed();
    return {
      changes: Number(changes),
      lastInsertRowid: Number(lastInsertRowid),
    };
  }

  /**
   * All of `fn`'s changes or none. `fn` must be synchronous. Inside another transaction it joins that one.
   * @throws what `fn` throws; resource_exhausted or failed_precondition when the disk is full or read-only.
   */
  tx<T>(fn: () => T): T {
    if (this.#inTransaction) return fn();
    this.#guard(() => this.prepare('BEGIN IMMEDIATE').run());
    this.#inTransaction = true;
    let result: T;
    try {
      result = fn();
      this.#guard(() => this.prepare('COMMIT').run());
    } catch (error) {
      this.#afterCommit = [];
      if (this.#db.isTransaction) this.prepare('ROLLBACK').run();
      throw error;
    } finally {
      this.#inTransaction = false;
    }
    this.#committed();
    const callbacks = this.#afterCommit;
    this.#afterCommit = [];
    for (const callback of callbacks) callback();
    return result;
  }

  /** Whether what is read now may be taken back. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /** Runs `callback` once the transaction under way is committed, at once outside of one, never after a rollback. */
  afterCommit(callback: () => void): void {
    if (this.#inTransaction) this.#afterCommit.push(callback);
    else callback();
  }

  /** Has `callback` called after every commit from now on; it must not throw. */
  onCommit(callback: () => void): void {
    this.#onCommit.push(callback);
  }

  /** Resolves when every commit made so far would survive a power cut. */
  durable(): Promise<void> {
    // A sync that has begun may have missed the newest commit: wait for the one after it, together with all others.
    this.#nextSync ??= (this.#syncing ?? Promise.resolve()).then(() => {
      const current = sync(this.#walFd).catch((error: unknown) => {
        throw BerthError.from(error, `sync ${this.path}-wal`);
      });
      this.#syncing = current.catch(() => {});
      this.#nextSync = undefined;
      return current;
    });
    return this.#nextSync;
  }

  /** Tells of a record that can't be read; of each one once, since lists are asked for over and over. */
  reportDamage(record: string, error: unknown): void {
    if (this.#damaged.has(record)) return;
    this.#damaged.add(record);
    this.#onDamage?.(record, BerthError.from(error));
  }

  close(): void {
    this.#statements.clear();
    this.#queries.clear();
    this.#db.close();
    close(this.#walFd, () => {});
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #query(sql: string): RowQuery {
    let query = this.#queries.get(sql);
    if (!query) {
      query = new RowQuery(this.#db.prepare(sql));
      this.#queries.set(sql, query);
    }
    return query;
  }

  #committed(): void {
    for (const callback of this.#onCommit) callback();
  }

  #guard<T>(fn: () => T): T {
    try {
      return fn();
    } catch (error) {
      throw databaseError(error, this.path);
    }
  }
}

export interface DatabaseOptions {
  /** How far the file is checked. Default: quick. */
  readonly check?: 'quick' | 'full' | 'off';
  /** Told of each record that can't be read. */
  readonly onDamage?: (record: string, error: BerthError) => void;
}

/**
 * Opens or creates the database and brings its schema up to date.
 * @throws data_loss for a damaged file, failed_precondition for one that is not ours or newer than this program, each
 *   with path and remedy.
 */
export function openDatabase(path: string, options: DatabaseOptions = {}): Database {
  let db: DatabaseSync | undefined;
  try {
    // Specs hold secrets in their environments. SQLite gives the log the mode of the database.
    closeSync(openSync(path, 'a', 0o600));
    db = new DatabaseSync(path, {
      timeout: 5000,
      enableForeignKeyConstraints: true,
    });
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;');
    db.exec(`PRAGMA wal_autocheckpoint = ${pagesPerCheckpoint}`);
    check(db, path, options.check ?? 'quick');
    migrate(db, path);
    // Only the log may be opened beside SQLite: closing a descriptor of the database itself would drop SQLite's locks.
    return new Database(path, db, openSync(`${path}-wal`, 'r+'), options);
  } catch (error) {
    if (db?.isOpen) db.close();
    throw BerthError.from(databaseError(error, path));
  }
}

function check(db: DatabaseSync, path: string, extent: 'quick' | 'full' | 'off'): void {
  const { application_id: id } = db.prepare('PRAGMA application_id').get() as {
    application_id: number;
  };
  const { user_version: version } = db.prepare('PRAGMA user_version').get() as {
    user_version: number;
  };
  const foreign = id !== applicationId && (id !== 0 || version !== 0);
  if (foreign) {
    throw new BerthError('failed_precondition', `${path} is not a Berth database: move it away or choose another root`);
  }
  if (version > migrations.length) {
    throw new BerthError(
      'failed_precondition',
      `${path} has schema version ${version}, this berthd knows up to ${migrations.length}: start the newer berthd that wrote it`,
    );
  }
  if (extent === 'off') return;
  const [row] = db.prepare(`PRAGMA ${extent === 'quick' ? 'quick_check' : 'integrity_check'}(1)`).all();
  const finding = Object.values(row ?? {})[0];
  if (finding !== 'ok') throw damaged(path, String(finding));
}

function migrate(db: DatabaseSync, path: string): void {
  const { user_version: version } = db.prepare('PRAGMA user_version').get() as {
    user_version: number;
  };
  for (const [index, script] of migrations.entries()) {
    if (index < version) continue;
    try {
      db.exec(
        `BEGIN IMMEDIATE; ${script}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${index + 1}; COMMIT`,
      );
    } catch (error) {
      throw new BerthError('internal', `${path}: cannot migrate to schema version ${index + 1}`, { cause: error });
    }
  }
}

function damaged(path: string, finding: string | undefined, cause?: unknown): BerthError {
  return new BerthError(
    'data_loss',
    `database ${path} is damaged${finding ? ` (${finding})` : ''}: berthd puts it aside and restores a backup when it starts`,
    { cause },
  );
}

/** SQLite's primary result codes, https://www.sqlite.org/rescode.html */
const resultCode = {
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantopen: 14,
  notadb: 26,
} as const;

function databaseError(error: unknown, path: string): unknown {
  if (error instanceof BerthError) return error;
  if (!isSqliteError(error)) return errnoOf(error) ? BerthError.from(error, `database ${path}`) : error;
  switch (error.errcode & 0xff) {
    case resultCode.corrupt:
    case resultCode.notadb:
      return damaged(path, error.message, error);
    case resultCode.full:
      return new BerthError('resource_exhausted', `no space left for ${path}: free space on its file system`, {
        cause: error,
      });
    case resultCode.readonly:
    case resultCode.cantopen:
      return new BerthError(
        'failed_precondition',
        `cannot write ${path} (${error.message}): make its directory writable for this user or choose another root`,
        { cause: error },
      );
    case resultCode.ioerr:
      return new BerthError('unavailable', `${path}: ${error.message}: check the disk and the space left on it`, {
        cause: error,
      });
    default:
      return new BerthError('internal', `${path}: ${error.message}`, {
        cause: error,
      });
  }
}

function isSqliteError(error: unknown): error is Error & { errcode: number } {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number';
}
