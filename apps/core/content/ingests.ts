import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import type { Database } from '../metadata/database.ts';
import { recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { IngestStatus } from './store.ts';

/** An ingest nobody leases is dropped after this time, as in containerd. */
const lifetimeMs = 24 * 3_600_000;

/** A row of the table `ingests`, and where its bytes are. */
export interface Ingest {
  readonly id: number;
  readonly ns: string;
  readonly ref: string;
  readonly expected: string | undefined;
  readonly total: number;
  readonly startedAt: Temporal.Instant;
  readonly path: string;
}

interface Row {
  readonly id: number;
  readonly ns: string;
  readonly ref: string;
  readonly expected: string | null;
  readonly total: number;
  readonly started_at: number;
}

export interface BeginOptions {
  readonly total: number;
  readonly expected: string | undefined;
  /** A leased ingest lives as long as its lease. */
  readonly leased: boolean;
}

/** Writes under way: their rows, their files, and who holds which ref. */
export class Ingests {
  readonly #db: Database;
  readonly #directory: string;
  readonly #pathOfBlob: (digest: string) => string;
  /** Held refs, each with a promise that settles when it is released. */
  readonly #locks = new Map<string, Promise<void>>();

  constructor(db: Database, directory: string, pathOfBlob: (digest: string) => string) {
    this.#db = db;
    this.#directory = directory;
    this.#pathOfBlob = pathOfBlob;
  }

  /**
   * Takes the ref for one writer. With a signal it waits for its turn.
   * @throws unavailable while the ref is held and there is no signal; what the signal was aborted with.
   */
  async lock(ns: string, ref: string, signal?: AbortSignal): Promise<{ release(): void }> {
    const key = lockKey(ns, ref);
    for (let held = this.#locks.get(key); held; held = this.#locks.get(key)) {
      if (!signal) throw new BerthError('unavailable', `ref "${ref}" is locked: another write to it is under way`);
      await settledOrAborted(held, signal);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#locks.set(key, promise);
    return {
      release: () => {
        if (this.#locks.get(key) === promise) this.#locks.delete(key);
        resolve();
      },
    };
  }

  isLocked(ns: string, ref: string): boolean {
    return this.#locks.has(lockKey(ns, ref));
  }

  /** Finds or makes the row. A writer who tells another total than the one before has another blob: it starts anew. */
  begin(ns: string, ref: string, { total, expected, leased }: BeginOptions): Ingest {
    const now = timeNow();
    const expiresAt = leased ? 0 : now.epochMilliseconds + lifetimeMs;
    const present = this.#find(ns, ref);
    if (!present) {
      const { lastInsertRowid: id } = this.#db.run(
        'INSERT INTO ingests (ns, ref, expected, total, started_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)',
        ns,
        ref,
        expected ?? null,
        total,
        timeToColumn(now),
        expiresAt,
      );
      return {
        id,
        ns,
        ref,
        expected,
        total,
        startedAt: now,
        path: this.#pathOf(id),
      };
    }
    const another = total > 0 && present.total > 0 && total !== present.total;
    if (another) rmSync(present.path, { force: true });
    const begun = another ? { ...present, total, startedAt: now } : present;
    this.#db.run(
      'UPDATE ingests SET total = ?, expected = ?, started_at = ?, expires_at = ? WHERE id = ?',
      begun.total,
      expected ?? present.expected ?? null,
      timeToColumn(begun.startedAt),
      expiresAt,
      begun.id,
    );
    // What an earlier writer expected is no promise of this one, though the row goes on naming it.
    return { ...begun, expected };
  }

  /** @throws not_found */
  require(ns: string, ref: string): Ingest {
    const ingest = this.#find(ns, ref);
    if (!ingest) throw new BerthError('not_found', `ref "${ref}" not found`);
    return ingest;
  }

  status(ns: string, ref: string): IngestStatus {
    const status = this.#statusOf(this.require(ns, ref));
    if (status === undefined)
      throw new BerthError('not_found', `ref "${ref}" not found: nothing was written to it yet`);
    return status;
  }

  list(ns: string): IngestStatus[] {
    const rows = this.#db.all<Row>('SELECT * FROM ingests WHERE ns = ? ORDER BY ref', ns);
    const statuses = recordsOf(
      this.#db,
      rows,
      (row) => this.#statusOf(this.#ingestOf(row)),
      ({ ref }) => `write "${ref}"`,
    );
    return statuses.filter((status) => status !== undefined);
  }

  /** Forgets the ingest, its leases too, and deletes its bytes. A writer that has it open can't commit it any more. */
  remove(ingest: Ingest): void {
    this.#db.tx(() => forgetIngest(this.#db, ingest));
    rmSync(ingest.path, { force: true });
  }

  /** Deletes files that no row names. */
  sweepFiles(): void {
    for (const name of readdirSync(this.#directory)) {
      if (this.#db.get('SELECT 1 FROM ingests WHERE id = ?', Number(name))) continue;
      rmSync(join(this.#directory, name), { force: true, recursive: true });
    }
  }

  #find(ns: string, ref: string): Ingest | undefined {
    const row = this.#db.get<Row>('SELECT * FROM ingests WHERE ns = ? AND ref = ?', ns, ref);
    return row && this.#ingestOf(row);
  }

  #statusOf(ingest: Ingest): IngestStatus | undefined {
    return statusOf(ingest, ingest.expected === undefined ? undefined : this.#pathOfBlob(ingest.expected));
  }

  #ingestOf({ id, ns, ref, expected, total, started_at }: Row): Ingest {
    return {
      id,
      ns,
      ref,
      expected: expected ?? undefined,
      total,
      startedAt: timeFromColumn(started_at),
      path: this.#pathOf(id),
    };
  }

  #pathOf(id: number): string {
    return join(this.#directory, String(id));
  }
}

/** Deletes the row and the ref's place in leases; for use inside a transaction. */
export function forgetIngest(db: Database, { id, ns, ref }: Ingest): void {
  db.run('DELETE FROM ingests WHERE id = ?', id);
  db.run("DELETE FROM lease_resources WHERE ns = ? AND type = 'ingests' AND resource = ?", ns, ref);
}

/**
 * An ingest without a file of its own stands for a whole blob that is in place: another namespace has it, or a commit was
 * cut short. undefined when nothing was written yet.
 *
 * @param blob where the blob would be that the ingest expects
 */
function statusOf(
  { ref, startedAt, total, expected, path }: Ingest,
  blob: string | undefined,
): IngestStatus | undefined {
  const own = statSync(path, { bigint: true, throwIfNoEntry: false });
  const stat = own ?? (blob === undefined ? undefined : statSync(blob, { bigint: true, throwIfNoEntry: false }));
  if (stat === undefined) return undefined;
  return {
    ref,
    startedAt,
    updatedAt: Temporal.Instant.fromEpochNanoseconds(stat.mtimeNs),
    offset: Number(stat.size),
    total,
    expected,
  };
}

function lockKey(ns: string, ref: string): string {
  return `${ns}\0${ref}`;
}

function settledOrAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    void promise.then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}
