import { type Dirent, lstatSync } from 'node:fs';
import { join } from 'node:path';
import { entriesOf } from '../directory-entries.ts';
import { node, type Owner } from '../gc/nodes.ts';
import { ResourceGraph } from '../gc/resource-graph.ts';
import type { Database } from '../metadata/database.ts';
import { blockUnit, diskUsage } from '../snapshots/disk-usage.ts';
import type { Item, ItemKind, ItemOwner } from './item.ts';

/** What the database says a file or directory is, by its path below the root directory. */
type Records = ReadonlyMap<string, Omit<Item, 'bytes'>>;

/** Directories whose entries are told one by one; the others are told as a whole. */
const opened = ['.', 'content', 'content/blobs', 'content/blobs/sha256', 'content/ingest', 'snapshots', 'drop'];

/** What lies directly below the root directory, beside what the collector looks after. */
const kinds: readonly (readonly [RegExp, ItemKind, string])[] = [
  [/^meta\.db|^lock$|^backups$|^damaged$|^images$|^content\/owners$/, 'metadata', 'records'],
  [/^drop\//, 'archive', 'drop directory'],
  [/^cri$/, 'pods', 'berth-cri'],
  [/^cache$/, 'cache', 'compiled code and work space'],
];

/**
 * Everything below berthd's root directory with the bytes that it takes on disk, each of them counted once, and who needs
 * it: roots of the garbage collection that lead to it, or the daemon. Leases take no room of their own.
 */
export async function* explain(db: Database, root: string): AsyncGenerator<Item> {
  const { records, leases } = db.tx(() => readRecords(db));
  yield* leases;
  yield* below(root, '.', records);
}

async function* below(root: string, directory: string, records: Records): AsyncGenerator<Item> {
  const own = lstatSync(join(root, directory), { throwIfNoEntry: false });
  if (own === undefined) return;
  const daemon = daemonOwner('directories');
  yield { kind: 'directory', namespaces: [], id: directory, bytes: own.blocks * blockUnit, owners: [daemon] };
  for (const entry of entriesOf(join(root, directory))) {
    const path = directory === '.' ? entry.name : `${directory}/${entry.name}`;
    if (entry.isDirectory() && isOpened(path)) yield* below(root, path, records);
    else yield { ...(records.get(path) ?? unrecorded(path)), bytes: await bytesOf(join(root, path), entry) };
  }
}

function isOpened(path: string): boolean {
  return opened.includes(path) || /^snapshots\/[^/]+$/.test(path);
}

async function bytesOf(path: string, entry: Dirent): Promise<number> {
  if (entry.isDirectory()) return (await diskUsage(path)).size;
  return (lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * blockUnit;
}

/** What is below content and snapshots without a record is rubbish, or about to get one. */
function unrecorded(path: string): Omit<Item, 'bytes'> {
  const plain = { namespaces: [], id: path, owners: [] };
  if (path.startsWith('content/blobs/sha256/')) return { ...plain, kind: 'blob' };
  if (path.startsWith('content/ingest/')) return { ...plain, kind: 'ingest' };
  if (path.startsWith('snapshots/')) return { ...plain, kind: 'snapshot' };
  const known = kinds.find(([pattern]) => pattern.test(path));
  if (known === undefined) return { ...plain, kind: 'other' };
  const [, kind, purpose] = known;
  return { ...plain, kind, owners: [daemonOwner(purpose)] };
}

function readRecords(db: Database): { readonly records: Records; readonly leases: readonly Item[] } {
  const owners = new ResourceGraph(db, Date.now()).owners();
  const ownersOf = (type: 'content' | 'ingest' | 'snapshot', ns: string, id: string): readonly Owner[] =>
    owners.get(node(type, ns, id)) ?? [];
  const records = new Map<string, Omit<Item, 'bytes'>>();
  for (const { ns, digest } of db.all<{ ns: string; digest: string }>('SELECT ns, digest FROM blobs ORDER BY ns')) {
    const path = `content/blobs/${digest.replace(':', '/')}`;
    const known = records.get(path);
    records.set(path, {
      kind: 'blob',
      namespaces: [...(known?.namespaces ?? []), ns],
      id: digest,
      owners: [...(known?.owners ?? []), ...ownersOf('content', ns, digest)],
    });
  }
  for (const { id, ns, ref } of db.all<{ id: number; ns: string; ref: string }>('SELECT id, ns, ref FROM ingests')) {
    const item = { kind: 'ingest', namespaces: [ns], id: ref, owners: ownersOf('ingest', ns, ref) } as const;
    records.set(`content/ingest/${id}`, item);
  }
  const snapshots = db.all<{ id: number; ns: string; snapshotter: string; name: string }>(
    'SELECT id, ns, snapshotter, name FROM snapshots',
  );
  for (const { id, ns, snapshotter, name } of snapshots) {
    const key = `${snapshotter}/${name}`;
    const item = { kind: 'snapshot', namespaces: [ns], id: key, owners: ownersOf('snapshot', ns, key) } as const;
    records.set(`snapshots/${snapshotter}/${id}`, item);
  }
  const leases = db
    .all<{ ns: string; id: string }>('SELECT ns, id FROM leases ORDER BY ns, id')
    .map(
      ({ ns, id }): Item => ({ kind: 'lease', namespaces: [ns], id, bytes: 0, owners: [{ kind: 'lease', ns, id }] }),
    );
  return { records, leases };
}

function daemonOwner(id: string): ItemOwner {
  return { kind: 'daemon', ns: '', id };
}
