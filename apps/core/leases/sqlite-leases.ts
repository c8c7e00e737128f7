import { randomBytes } from 'node:crypto';
import { isDigest } from '#common/digest.ts';
import { BerthError, isCode } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import type { Lease, LeaseResource, LeaseStore, WithLease } from './store.ts';

/** How long a lease of the daemon's own lasts when the daemon dies and doesn't come back. */
const ownLeaseMs = 24 * 3_600_000;
/** For how long, after the next start, a pull that was cut short finds again what it had fetched. */
const resumeMs = 3_600_000;
/** Marks the daemon's own leases. */
const ownLabel = 'berth/own';

interface Row {
  readonly id: string;
  readonly labels: string;
  readonly created_at: number;
}

export class SqliteLeaseStore implements LeaseStore {
  readonly #db: Database;
  readonly #namespaces: NamespaceStore;
  readonly #onRelease: () => void;

  /** `onRelease` is called when resources lost a protection: time to collect. */
  constructor(db: Database, namespaces: NamespaceStore, onRelease: () => void) {
    this.#db = db;
    this.#namespaces = namespaces;
    this.#onRelease = onRelease;
  }

  create(ns: string, id: string, labels?: Labels): Lease {
    if (id === '') throw new BerthError('invalid_argument', 'a lease needs an id');
    const lease = { id, createdAt: timeNow(), labels: cleanLabels(labels) };
    return this.#db.tx(() => {
      this.#namespaces.ensure(ns);
      const { changes } = this.#db.run(
        'INSERT INTO leases (ns, id, labels, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
        ns,
        id,
        labelsToColumn(lease.labels),
        timeToColumn(lease.createdAt),
      );
      if (changes === 0) throw new BerthError('already_exists', `lease "${id}" already exists`);
      return lease;
    });
  }

  delete(ns: string, id: string): void {
    const { changes } = this.#db.run('DELETE FROM leases WHERE ns = ? AND id = ?', ns, id);
    if (changes === 0) throw notFound(id);
    this.#onRelease();
  }

  list(ns: string, filters?: readonly string[]): Lease[] {
    const matches = matcher(filters);
    const rows = this.#db.all<Row>('SELECT id, labels, created_at FROM leases WHERE ns = ? ORDER BY id', ns);
    return recordsOf(this.#db, rows, leaseOf, ({ id }) => `lease "${id}" in namespace "${ns}"`).filter(
      ({ id, labels }) => matches({ fields: { id }, maps: { labels } }),
    );
  }

  addResource(ns: string, id: string, resource: LeaseResource): void {
    this.#db.tx(() => {
      this.#require(ns, id);
      validateResource(resource);
      if (resource.type === 'snapshots/') throw new BerthError('invalid_argument', 'snapshots/: name the snapshotter');
      if (resource.id === '') throw new BerthError('invalid_argument', `resource of type "${resource.type}" has no id`);
      this.#db.run(
        'INSERT INTO lease_resources (ns, lease, type, resource) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
        ns,
        id,
        resource.type,
        resource.id,
      );
    });
  }

  deleteResource(ns: string, id: string, resource: LeaseResource): void {
    this.#db.tx(() => {
      this.#require(ns, id);
      validateResource(resource);
      this.#db.run(
        'DELETE FROM lease_resources WHERE ns = ? AND lease = ? AND type = ? AND resource = ?',
        ns,
        id,
        resource.type,
        resource.id,
      );
      this.#db.afterCommit(this.#onRelease);
    });
  }

  resources(ns: string, id: string): LeaseResource[] {
    this.#require(ns, id);
    return this.#db.all<LeaseResource>(
      'SELECT type, resource AS id FROM lease_resources WHERE ns = ? AND lease = ? ORDER BY type, resource',
      ns,
      id,
    );
  }

  /**
   * For the start: leases of a daemon's own are of one that is dead. What was half made, no one will finish: active
   * snapshots go at once. What is whole, and what was fetched so far, waits some time for somebody to ask again.
   */
  releaseOwn(): number {
    return this.#db.tx(() => {
      const own = this.#db.all<{ ns: string; id: string }>(
        `SELECT ns, id FROM leases WHERE instr(labels, '"${ownLabel}"') > 0`,
      );
      const labels = labelsToColumn(ownLabels(resumeMs));
      for (const { ns, id } of own) {
        this.#db.run(
          `DELETE FROM lease_resources WHERE ns = ?1 AND lease = ?2 AND EXISTS (
             SELECT 1 FROM snapshots s WHERE s.ns = ?1 AND s.kind = 'active'
               AND type = 'snapshots/' || s.snapshotter AND resource = s.name)`,
          ns,
          id,
        );
        this.#db.run('UPDATE leases SET labels = ? WHERE ns = ? AND id = ?', labels, ns, id);
      }
      return own.length;
    });
  }

  readonly withLease: WithLease = async (ns, use) => {
    const id = `berth-${Date.now()}-${randomBytes(4).toString('hex')}`;
    this.create(ns, id, ownLabels(ownLeaseMs));
    // Gone already is what was wanted: its namespace may have been deleted meanwhile.
    using _ = {
      [Symbol.dispose]: () => {
        try {
          this.delete(ns, id);
        } catch (error) {
          if (!isCode(error, 'not_found')) throw error;
        }
      },
    };
    return await use(id);
  };

  #require(ns: string, id: string): void {
    if (!this.#db.get('SELECT 1 FROM leases WHERE ns = ? AND id = ?', ns, id)) throw notFound(id);
  }
}

function ownLabels(lastsMs: number): Labels {
  return { [ownLabel]: 'true', [labelKeys.gcExpire]: new Date(Date.now() + lastsMs).toISOString() };
}

function leaseOf({ id, labels, created_at }: Row): Lease {
  return { id, createdAt: timeFromColumn(created_at), labels: labelsFromColumn(labels) };
}

/** The types of containerd's lease manager: `content`, `ingests`, `images`, `snapshots/<snapshotter>`. */
function validateResource({ type, id }: LeaseResource): void {
  const [kind, ...rest] = type.split('/');
  switch (kind) {
    case 'content':
    case 'ingests':
    case 'images':
      if (rest.length > 0) throw new BerthError('invalid_argument', `invalid resource type "${type}"`);
      if (kind === 'content' && !isDigest(id)) {
        throw new BerthError('invalid_argument', `invalid content resource id "${id}": not a digest`);
      }
      return;
    case 'snapshots':
      if (rest.length !== 1) {
        throw new BerthError('invalid_argument', `invalid snapshot resource type "${type}": name the snapshotter`);
      }
      return;
    default:
      throw new BerthError('unimplemented', `resource type "${type}" is not supported`);
  }
}

function notFound(id: string): BerthError {
  return new BerthError('not_found', `lease "${id}" not found`);
}
