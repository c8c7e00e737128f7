import type { Labels } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import type { Activation } from './activation.ts';

const backReference = 'containerd.io/gc.bref.';

const queries: Readonly<Record<string, string>> = {
  container: 'SELECT 1 FROM containers WHERE ns = ? AND id = ?',
  content: 'SELECT 1 FROM blobs WHERE ns = ? AND digest = ?',
  image: 'SELECT 1 FROM images WHERE ns = ? AND name = ?',
};

/**
 * Whether a lease or a resource still holds an activation (containerd docs/garbage-collection.md, back references). To be
 * asked after a collection, when what is there is needed itself.
 */
export function isNeeded(db: Database, { ns, lease, labels }: Activation): boolean {
  if (lease !== undefined && db.get('SELECT 1 FROM leases WHERE ns = ? AND id = ?', ns, lease)) return true;
  return Object.entries(labels).some(([key, value]) => isHeld(db, ns, key, value));
}

function isHeld(db: Database, ns: string, key: string, value: Labels[string]): boolean {
  if (!key.startsWith(backReference)) return false;
  const [type = ''] = key.slice(backReference.length).split(/[./]/, 1);
  if (type === 'snapshot') {
    const [snapshotter = ''] = key.slice(`${backReference}snapshot.`.length).split('/', 1);
    const query = 'SELECT 1 FROM snapshots WHERE ns = ? AND snapshotter = ? AND name = ?';
    return db.get(query, ns, snapshotter, value) !== undefined;
  }
  const query = Object.hasOwn(queries, type) ? queries[type] : undefined;
  return query !== undefined && db.get(query, ns, value) !== undefined;
}
