import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Labels } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { readRecordFile } from '../metadata/record-file.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import { snapshotRecordName } from '../snapshots/directory-snapshotter.ts';
import { filesOf } from '../snapshots/driver.ts';
import type { SnapshotKind } from '../snapshots/snapshotter.ts';
import { orphanage, type Rebuild } from './recovered.ts';

interface Found {
  readonly id: number;
  readonly snapshotter: string;
  readonly ns: string;
  readonly name: string;
  readonly kind: SnapshotKind;
  readonly parent: string | undefined;
  readonly labels: Labels;
  readonly createdAt: number;
}

/**
 * Makes the rows of snapshots agree with their directories, `<root>/<snapshotter>/<id>`, whatever snapshotters there are.
 * A directory that doesn't say what it is becomes an active snapshot of the orphanage, to look into.
 */
export function rebuildSnapshots(root: string, { db, damaged, count }: Rebuild): void {
  const present = directoriesIn(root);
  for (const id of upperFirst(db)) {
    if (present.has(id) || db.get('SELECT 1 FROM snapshots WHERE parent = ?', id)) continue;
    db.run('DELETE FROM snapshots WHERE id = ?', id);
  }
  const directories = [...present.values()].sort((a, b) => a.id - b.id);
  const found = directories.map((directory) => [directory, foundIn(directory)] as const);
  // Of two directories with one name the older was about to be deleted.
  const newest = new Map(found.map((one) => [one[1] && keyOf(one[1]), one]));
  const isNewest = (one: FoundIn): boolean => one[1] === undefined || newest.get(keyOf(one[1])) === one;
  for (const one of found) if (!isNewest(one)) db.run('DELETE FROM snapshots WHERE id = ?', one[0].id);
  for (const [directory, each] of lowerFirst(found.filter(isNewest), newest)) {
    const { id, path } = directory;
    const known = db.get('SELECT 1 FROM snapshots WHERE id = ?', id) !== undefined;
    if (each !== undefined && put(db, each)) count('snapshots');
    else if (!known && existsSync(filesOf(path))) {
      damaged(path, 'it does not say whose snapshot it is, or what that is based on is missing');
      put(db, orphan(directory));
      count('snapshots');
    }
  }
}

type FoundIn = readonly [Directory, Found | undefined];

/** Ids of all rows, children before their parents. */
function upperFirst(db: Database): number[] {
  const rows = db.all<{ id: number }>(
    `WITH RECURSIVE tree (id, depth) AS (
       SELECT id, 0 FROM snapshots WHERE parent IS NULL
       UNION ALL
       SELECT s.id, depth + 1 FROM snapshots s JOIN tree t ON s.parent = t.id
     ) SELECT id FROM tree ORDER BY depth DESC`,
  );
  return rows.map(({ id }) => id);
}

/** Each after what it is based on, which may have the higher id: layers get their parents when they are committed. */
function lowerFirst(found: readonly FoundIn[], newest: ReadonlyMap<string | undefined, FoundIn>): Set<FoundIn> {
  const ordered = new Set<FoundIn>();
  for (const one of found) {
    const chain = new Set<FoundIn>();
    for (let at: FoundIn | undefined = one; at !== undefined && !ordered.has(at) && !chain.has(at); ) {
      chain.add(at);
      const each: Found | undefined = at[1];
      at = each?.parent === undefined ? undefined : newest.get(keyOf({ ...each, name: each.parent }));
    }
    for (const each of [...chain].reverse()) ordered.add(each);
  }
  return ordered;
}

interface Directory {
  readonly id: number;
  readonly snapshotter: string;
  readonly path: string;
}

function directoriesIn(root: string): Map<number, Directory> {
  const found = new Map<number, Directory>();
  for (const snapshotter of existsSync(root) ? readdirSync(root) : []) {
    for (const name of readdirSync(join(root, snapshotter))) {
      if (/^\d+$/.test(name)) {
        found.set(Number(name), { id: Number(name), snapshotter, path: join(root, snapshotter, name) });
      }
    }
  }
  return found;
}

function foundIn({ id, snapshotter, path }: Directory): Found | undefined {
  const record = readRecordFile(join(path, snapshotRecordName));
  try {
    const { ns, name, kind, parent, labels, createdAt } = record ?? {};
    if (typeof ns !== 'string' || typeof name !== 'string' || typeof createdAt !== 'number') return undefined;
    if (kind !== 'active' && kind !== 'view' && kind !== 'committed') return undefined;
    const below = typeof parent === 'string' ? parent : undefined;
    return {
      id,
      snapshotter,
      ns,
      name,
      kind,
      parent: below,
      labels: labelsFromColumn(String(labels)),
      createdAt,
    };
  } catch {
    return undefined;
  }
}

function orphan({ id, snapshotter }: Directory): Found {
  const createdAt = timeToColumn(timeNow());
  return { id, snapshotter, ns: orphanage, name: String(id), kind: 'active', parent: undefined, labels: {}, createdAt };
}

/** Whether it could be: what a snapshot is based on has to be there. */
function put(db: Database, { id, snapshotter, ns, name, kind, parent, labels, createdAt }: Found): boolean {
  const below =
    parent === undefined
      ? undefined
      : db.get<{ id: number }>(
          "SELECT id FROM snapshots WHERE ns = ? AND snapshotter = ? AND name = ? AND kind = 'committed'",
          ns,
          snapshotter,
          parent,
        );
  if (parent !== undefined && below === undefined) return false;
  db.run(
    `INSERT INTO snapshots (id, ns, snapshotter, name, kind, parent, labels, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET ns = excluded.ns, snapshotter = excluded.snapshotter,
     name = excluded.name, kind = excluded.kind, parent = excluded.parent, labels = excluded.labels`,
    id,
    ns,
    snapshotter,
    name,
    kind,
    below?.id ?? null,
    labelsToColumn(labels),
    createdAt,
    createdAt,
  );
  return true;
}

function keyOf({ ns, snapshotter, name }: Found): string {
  return `${ns}\0${snapshotter}\0${name}`;
}
