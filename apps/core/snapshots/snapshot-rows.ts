import { BerthError } from '#common/errors.ts';
import type { Labels } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { SnapshotInfo, SnapshotKind, SnapshotUsage } from './snapshotter.ts';

/** A row of the table `snapshots`, with its parent's name. */
export interface SnapshotRow {
  readonly id: number;
  readonly name: string;
  readonly kind: SnapshotKind;
  readonly parent: number | null;
  readonly parent_name: string | null;
  readonly labels: string;
  /** null until counted. */
  readonly size: number | null;
  readonly inodes: number | null;
  readonly created_at: number;
  readonly updated_at: number;
}

const select = `SELECT s.id, s.name, s.kind, s.parent, p.name AS parent_name, s.labels, s.size, s.inodes, s.created_at, s.updated_at
  FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`;

const rowsPerPage = 100;
/** More images than a node holds. */
const MAX_CHAINS = 1024;

/** The rows of one snapshotter. */
export class SnapshotRows {
  readonly #db: Database;
  readonly #snapshotter: string;
  readonly #chains = new Map<number, readonly number[]>();

  constructor(db: Database, snapshotter: string) {
    this.#db = db;
    this.#snapshotter = snapshotter;
  }

  find(ns: string, name: string): SnapshotRow | undefined {
    return this.#db.get<SnapshotRow>(
      `${select} WHERE s.ns = ? AND s.snapshotter = ? AND s.name = ?`,
      ns,
      this.#snapshotter,
      name,
    );
  }

  /** @throws not_found */
  require(ns: string, name: string): SnapshotRow {
    const row = this.find(ns, name);
    if (!row) throw new BerthError('not_found', `snapshot "${name}" does not exist`);
    return row;
  }

  /**
   * All that can be read, by name; a damaged one is reported. Read page by page: whoever takes a long list may let others
   * have their turn in between.
   */
  *list(ns: string): Generator<SnapshotInfo> {
    for (let last: string | undefined = ''; last !== undefined; ) {
      const page: SnapshotRow[] = this.#db.all<SnapshotRow>(
        `${select} WHERE s.ns = ? AND s.snapshotter = ? AND s.name > ? ORDER BY s.name LIMIT ${rowsPerPage}`,
        ns,
        this.#snapshotter,
        last,
      );
      yield* recordsOf(this.#db, page, decode, ({ name }) => `${nameOf(name)} in namespace "${ns}"`);
      last = page.length < rowsPerPage ? undefined : page.at(-1)?.name;
    }
  }

  /** Of every namespace. */
  all(): (SnapshotRow & { readonly ns: string })[] {
    return this.#db.all(`${select.replace('SELECT', 'SELECT s.ns,')} WHERE s.snapshotter = ?`, this.#snapshotter);
  }

  ids(): Set<number> {
    const rows = this.#db.all<{ id: number }>('SELECT id FROM snapshots WHERE snapshotter = ?', this.#snapshotter);
    return new Set(rows.map(({ id }) => id));
  }

  /** Ids of a committed snapshot and of all below it, from the top. It stays the same: neither parents nor ids change then. */
  chain(id: number): readonly number[] {
    const known = this.#chains.get(id);
    if (known !== undefined) return known;
    const rows = this.#db.all<{ id: number }>(
      `WITH RECURSIVE chain (id, depth) AS (
         SELECT id, 0 FROM snapshots WHERE id = ?
         UNION ALL
         SELECT s.parent, depth + 1 FROM snapshots s JOIN chain c ON s.id = c.id WHERE s.parent IS NOT NULL
       ) SELECT id FROM chain ORDER BY depth`,
      id,
    );
    const chain = rows.map((row) => row.id);
    if (this.#chains.size === MAX_CHAINS) this.#chains.clear();
    this.#chains.set(id, chain);
    return chain;
  }

  /** Names of the active snapshots and views above. */
  usersOf(id: number): string[] {
    return this.#db
      .all<{ name: string }>(
        `WITH RECURSIVE above (id) AS (
           SELECT id FROM snapshots WHERE parent = ?
           UNION ALL
           SELECT s.id FROM snapshots s JOIN above a ON s.parent = a.id
         ) SELECT name FROM snapshots JOIN above USING (id) WHERE kind != 'committed' ORDER BY name`,
        id,
      )
      .map((row) => row.name);
  }

  hasChildren(id: number): boolean {
    return this.#db.get('SELECT 1 FROM snapshots WHERE parent = ? LIMIT 1', id) !== undefined;
  }

  insert(ns: string, name: string, kind: SnapshotKind, parent: number | undefined, labels: string): number {
    const now = timeToColumn(timeNow());
    return this.#db.run(
      `INSERT INTO snapshots (ns, snapshotter, name, kind, parent, labels, created_at, updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      ns,
      this.#snapshotter,
      name,
      kind,
      parent ?? null,
      labels,
      now,
      now,
    ).lastInsertRowid;
  }

  /** New rows get ids above `id`. */
  skipIds(id: number): void {
    const given = this.#db.get<{ seq: number }>("SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'");
    if (given === undefined) this.#db.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('snapshots', ?)", id);
    else if (given.seq < id) this.#db.run("UPDATE sqlite_sequence SET seq = ? WHERE name = 'snapshots'", id);
  }

  commit(id: number, name: string, labels: Labels, usage: SnapshotUsage | undefined): void {
    const now = timeToColumn(timeNow());
    this.#db.run(
      `UPDATE snapshots SET name = ?, kind = 'committed', labels = ?, size = ?, inodes = ?, created_at = ?, updated_at = ?
       WHERE id = ?`,
      name,
      labelsToColumn(labels),
      usage?.size ?? null,
      usage?.inodes ?? null,
      now,
      now,
      id,
    );
  }

  rebase(id: number, parent: number): void {
    this.#db.run('UPDATE snapshots SET parent = ? WHERE id = ?', parent, id);
  }

  relabel(ns: string, name: string, labels: string): void {
    this.#db.run(
      'UPDATE snapshots SET labels = ?, updated_at = ? WHERE ns = ? AND snapshotter = ? AND name = ?',
      labels,
      timeToColumn(timeNow()),
      ns,
      this.#snapshotter,
      name,
    );
  }

  remember(id: number, { size, inodes }: SnapshotUsage): void {
    this.#db.run('UPDATE snapshots SET size = ?, inodes = ? WHERE id = ?', size, inodes, id);
  }

  delete(id: number): void {
    this.#db.run('DELETE FROM snapshots WHERE id = ?', id);
  }
}

/** @throws data_loss for a row that can't be read. */
export function infoOf(row: SnapshotRow): SnapshotInfo {
  return recordOf(row, decode, ({ name }) => nameOf(name));
}

function nameOf(name: string): string {
  return `snapshot "${name}"`;
}

function decode(row: SnapshotRow): SnapshotInfo {
  return {
    kind: row.kind,
    name: row.name,
    parent: row.parent_name ?? undefined,
    labels: labelsFromColumn(row.labels),
    createdAt: timeFromColumn(row.created_at),
    updatedAt: timeFromColumn(row.updated_at),
  };
}
