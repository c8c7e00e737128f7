import { BerthError } from '#common/errors.ts';
import type { Labels } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn } from '../metadata/labels.ts';
import { type LabelReferences, labelReferences } from './label-references.ts';
import { type Node, type NodeType, node, reachable } from './nodes.ts';

interface Labelled {
  readonly ns: string;
  readonly id: string;
  readonly labels: string;
}

/** A lease whose labels have this one holds what it names, and not what that refers to. */
const flatLabel = 'containerd.io/gc.flat';

/** The references between all resources of a database, as they are in one moment. */
export class ResourceGraph {
  readonly #roots = new Set<Node>();
  /** Held by flat leases: alive, not followed. */
  readonly #flat = new Set<Node>();
  readonly #references = new Map<Node, Node[]>();
  readonly #now: number;
  readonly #db: Database;
  /** Namespaces with labels that can't be read: what those refer to is not known, so all of them is kept. */
  readonly #kept = new Set<string>();
  readonly #expiredLeases: { readonly ns: string; readonly id: string }[] = [];
  #nextExpiry: number | undefined;

  /** Reads the graph; call it inside the transaction that acts on it. `now` is in milliseconds since the epoch. */
  constructor(db: Database, now: number) {
    this.#db = db;
    this.#now = now;
    this.#readLeases(db);
    this.#readImages(db);
    this.#readContent(db);
    this.#readSnapshots(db);
    this.#readContainers(db);
    for (const ns of this.#kept) this.#keepAll(db, ns);
  }

  /** Every resource that something needs. */
  alive(): Set<Node> {
    const alive = reachable(this.#roots, (from) => this.#references.get(from) ?? []);
    for (const held of this.#flat) alive.add(held);
    return alive;
  }

  get expiredLeases(): readonly { readonly ns: string; readonly id: string }[] {
    return this.#expiredLeases;
  }

  /** When the next thing expires by itself, in milliseconds since the epoch. */
  get nextExpiry(): number | undefined {
    return this.#nextExpiry;
  }

  #readLeases(db: Database): void {
    const resources = db.prepare('SELECT type, resource FROM lease_resources WHERE ns = ? AND lease = ?');
    for (const { ns, id, labels: column } of db.all<Labelled>('SELECT ns, id, labels FROM leases')) {
      const labels = this.#labelsOf(`lease "${id}"`, { ns, labels: column });
      const { expiresAt } = labelReferences(ns, labels);
      if (expiresAt !== undefined && expiresAt < this.#now) {
        this.#expiredLeases.push({ ns, id });
        continue;
      }
      this.#expires(expiresAt);
      const held = flatLabel in labels ? this.#flat : this.#roots;
      for (const { type, resource } of resources.all(ns, id) as {
        type: string;
        resource: string;
      }[]) {
        const leased = leasedNode(ns, type, resource);
        if (leased) held.add(leased);
      }
    }
  }

  #readImages(db: Database): void {
    const rows = db.all<Labelled & { digest: string }>('SELECT ns, name AS id, labels, digest FROM images');
    for (const row of rows) {
      const image = node('image', row.ns, row.id);
      const { expiresAt } = this.#readLabels(image, row);
      this.#refer(image, node('content', row.ns, row.digest));
      // Without a time an image stays for ever; with one it stays until then.
      if (expiresAt === undefined || expiresAt >= this.#now) this.#roots.add(image);
    }
  }

  #readContent(db: Database): void {
    for (const row of db.all<Labelled>('SELECT ns, digest AS id, labels FROM blobs')) {
      this.#readCollectible(node('content', row.ns, row.id), row);
    }
    const ingests = db.all<{ ns: string; ref: string; expires_at: number }>('SELECT ns, ref, expires_at FROM ingests');
    for (const { ns, ref, expires_at } of ingests) {
      if (expires_at < this.#now) continue;
      this.#roots.add(node('ingest', ns, ref));
      this.#expires(expires_at);
    }
  }

  #readSnapshots(db: Database): void {
    const rows = db.all<Labelled & { parent: string | null }>(
      `SELECT s.ns, s.snapshotter || '/' || s.name AS id, s.labels, p.snapshotter || '/' || p.name AS parent
       FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`,
    );
    for (const row of rows) {
      const snapshot = node('snapshot', row.ns, row.id);
      this.#readCollectible(snapshot, row);
      if (row.parent !== null) this.#refer(snapshot, node('snapshot', row.ns, row.parent));
    }
  }

  #readContainers(db: Database): void {
    const rows = db.all<Labelled & { snapshotter: string; snapshot_key: string }>(
      'SELECT ns, id, labels, snapshotter, snapshot_key FROM containers',
    );
    for (const row of rows) {
      const container = node('container', row.ns, row.id);
      this.#roots.add(container);
      this.#readLabels(container, row);
      if (row.snapshot_key !== '') {
        this.#refer(container, node('snapshot', row.ns, `${row.snapshotter}/${row.snapshot_key}`));
      }
    }
  }

  /** Content and snapshots are roots only by label, or as long as their time has not come. */
  #readCollectible(resource: Node, row: Labelled): void {
    const { root, expiresAt } = this.#readLabels(resource, row);
    if (root || (expiresAt !== undefined && expiresAt >= this.#now)) this.#roots.add(resource);
  }

  #readLabels(resource: Node, row: Labelled): LabelReferences {
    const { ns, id } = row;
    const [type] = resource.split('\0', 1);
    const meaning = labelReferences(ns, this.#labelsOf(`${type} "${id}"`, row));
    for (const to of meaning.references) this.#refer(resource, to);
    for (const from of meaning.backReferences) this.#refer(from, resource);
    this.#expires(meaning.expiresAt);
    return meaning;
  }

  #labelsOf(record: string, { ns, labels }: Pick<Labelled, 'ns' | 'labels'>): Labels {
    try {
      return labelsFromColumn(labels);
    } catch (error) {
      const { message } = BerthError.from(
        error,
        `labels of ${record}; until it is deleted, nothing is collected there`,
      );
      this.#db.reportDamage(`garbage collection in namespace "${ns}"`, new BerthError('data_loss', message));
      this.#kept.add(ns);
      return {};
    }
  }

  #keepAll(db: Database, ns: string): void {
    const all = db.all<{ type: NodeType; id: string }>(
      `SELECT 'image' AS type, name AS id FROM images WHERE ns = ?1
       UNION ALL SELECT 'content', digest FROM blobs WHERE ns = ?1
       UNION ALL SELECT 'snapshot', snapshotter || '/' || name FROM snapshots WHERE ns = ?1`,
      ns,
    );
    for (const { type, id } of all) this.#roots.add(node(type, ns, id));
  }

  #refer(from: Node, to: Node): void {
    const references = this.#references.get(from);
    if (references) references.push(to);
    else this.#references.set(from, [to]);
  }

  #expires(at: number | undefined): void {
    if (at !== undefined && at >= this.#now && at < (this.#nextExpiry ?? Infinity)) this.#nextExpiry = at;
  }
}

function leasedNode(ns: string, type: string, resource: string): Node | undefined {
  switch (type) {
    case 'content':
      return node('content', ns, resource);
    case 'images':
      return node('image', ns, resource);
    case 'ingests':
      return node('ingest', ns, resource);
    default:
      return type.startsWith('snapshots/')
        ? node('snapshot', ns, `${type.slice('snapshots/'.length)}/${resource}`)
        : undefined;
  }
}
