import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import type { Labels } from '#common/labels.ts';
import type { EventPublisher } from '../events/events.ts';
import type { Database } from '../metadata/database.ts';
import { cleanLabels, labelsFromColumn, labelsToColumn, updateLabels } from '../metadata/labels.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import type { Namespace, NamespaceStore } from './store.ts';

interface Row {
  readonly name: string;
  readonly labels: string;
}

/** What keeps a namespace from being deleted, as containerd words it. */
const contents = {
  images: 'SELECT 1 FROM images WHERE ns = ? LIMIT 1',
  blobs: 'SELECT 1 FROM blobs WHERE ns = ? LIMIT 1',
  containers: 'SELECT 1 FROM containers WHERE ns = ? LIMIT 1',
  snapshots: 'SELECT 1 FROM snapshots WHERE ns = ? LIMIT 1',
} as const;

export class SqliteNamespaceStore implements NamespaceStore {
  readonly #db: Database;
  readonly #events: EventPublisher;

  constructor(db: Database, events: EventPublisher) {
    this.#db = db;
    this.#events = events;
  }

  get(name: string): Namespace {
    const row = this.#db.get<Row>('SELECT name, labels FROM namespaces WHERE name = ?', name);
    if (!row) throw notFound(name);
    return recordOf(row, namespaceOf, nameOf);
  }

  list(): Namespace[] {
    const rows = this.#db.all<Row>('SELECT name, labels FROM namespaces ORDER BY name');
    return recordsOf(this.#db, rows, namespaceOf, nameOf);
  }

  create(name: string, labels?: Labels): Namespace {
    validateIdentifier(name, 'namespace');
    const namespace = { name, labels: cleanLabels(labels) };
    const { changes } = this.#db.run(
      'INSERT INTO namespaces (name, labels) VALUES (?, ?) ON CONFLICT DO NOTHING',
      name,
      labelsToColumn(namespace.labels),
    );
    if (changes === 0) throw new BerthError('already_exists', `namespace "${name}" already exists`);
    this.#events.publishTyped(name, '/namespaces/create', 'containerd.events.NamespaceCreate', namespace);
    return namespace;
  }

  update(name: string, labels: Labels, fieldpaths?: readonly string[]): Namespace {
    if (fieldpaths?.includes('labels')) {
      throw new BerthError(
        'invalid_argument',
        `cannot update "labels" of namespace "${name}": name each as labels.<key>`,
      );
    }
    return this.#db.tx(() => {
      if (fieldpaths?.length || Object.keys(labels).length > 0) this.ensure(name);
      else if (!this.#exists(name)) return { name, labels: {} };
      const updated = updateLabels(this.get(name).labels, labels, fieldpaths, `namespace "${name}"`);
      this.#db.run('UPDATE namespaces SET labels = ? WHERE name = ?', labelsToColumn(updated), name);
      const namespace = { name, labels: updated };
      this.#db.afterCommit(() =>
        this.#events.publishTyped(name, '/namespaces/update', 'containerd.events.NamespaceUpdate', namespace),
      );
      return namespace;
    });
  }

  delete(name: string): void {
    this.#db.tx(() => {
      if (!this.#exists(name)) throw notFound(name);
      const left = Object.entries(contents).flatMap(([what, sql]) => (this.#db.get(sql, name) ? [what] : []));
      if (left.length > 0) {
        throw new BerthError(
          'failed_precondition',
          `namespace "${name}" must be empty, but it still has ${left.join(', ')}`,
        );
      }
      for (const table of ['leases', 'ingests', 'sandboxes']) this.#db.run(`DELETE FROM ${table} WHERE ns = ?`, name);
      this.#db.run('DELETE FROM namespaces WHERE name = ?', name);
    });
    this.#events.publishTyped(name, '/namespaces/delete', 'containerd.events.NamespaceDelete', { name });
  }

  ensure(name: string): void {
    validateIdentifier(name, 'namespace');
    this.#db.run('INSERT INTO namespaces (name) VALUES (?) ON CONFLICT DO NOTHING', name);
  }

  #exists(name: string): boolean {
    return this.#db.get('SELECT 1 FROM namespaces WHERE name = ?', name) !== undefined;
  }
}

function namespaceOf(row: Row): Namespace {
  return { name: row.name, labels: labelsFromColumn(row.labels) };
}

function nameOf({ name }: Row): string {
  return `namespace "${name}"`;
}

function notFound(name: string): BerthError {
  return new BerthError('not_found', `namespace "${name}" not found`);
}
