import { BerthError } from '#common/errors.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn } from '../metadata/labels.ts';
import { type Condition, type LabelReferences, labelReferences } from './label-references.ts';
import { type Node, type NodeType, node, reachable } from './nodes.ts';

interface Labelled {
  readonly ns: string;
  readonly id: string;
  readonly labels: string;
}

/** The references between all resources of a database, as they are in one moment. */
export class ResourceGraph {
  readonly #db: Database;
  readonly #now: number;
  readonly #roots = new Set<Node>();
  readonly #references = new Map<Node, Node[]>();
  readonly #conditions: { readonly from: Node; readonly condition: Condition }[] = [];
  /** When snapshots were last used. */
  readonly #usedAt = new Map<Node, readonly number[]>();
  /** Namespaces with labels that can't be read: what those refer to is not known, so all of them is kept. */
  readonly #kept = new Set<string>();
  readonly #expiredLeases: { readonly ns: string; readonly id: string }[] = [];
  #nextExpiry: number | undefined;

  /** Reads the graph; call it inside the transaction that acts on it. `now` is in milliseconds since the epoch. */
  constructor(db: Database, now: number) {
    this.#db = db;
    this.#now = now;
    this.#readLeases();
    this.#readImages();
    this.#readContent();
    this.#readSnapshots();
    this.#readContainers();
    this.#readSandboxes();
    this.#weighConditions();
    for (const ns of this.#kept) this.#keepAll(ns);
  }

  /** Every resource that something needs. */
  alive(): { has(type: 'content' | 'snapshot' | 'image' | 'ingest', ns: string, id: string): boolean } {
    const alive = reachable(this.#roots, (from) => this.#references.get(from) ?? []);
    return {
      has: (type, ns, id) =>
        alive.has(node(type, ns, id)) || (type !== 'ingest' && alive.has(node(`${type}-flat`, ns, id))),
    };
  }

  get expiredLeases(): readonly { readonly ns: string; readonly id: string }[] {
    return this.#expiredLeases;
  }

  /** When the next thing expires by itself, in milliseconds since the epoch. */
  get nextExpiry(): number | undefined {
    return this.#nextExpiry;
  }

  #readLeases(): void {
    const resources = this.#db.prepare('SELECT type, resource FROM lease_resources WHERE ns = ? AND lease = ?');
    for (const row of this.#db.all<Labelled>('SELECT ns, id, labels FROM leases')) {
      const { ns, id } = row;
      const { expiresAt, flat } = this.#meaningOf('lease', row);
      if (this.#hasPassed(expiresAt)) {
        this.#expiredLeases.push({ ns, id });
        continue;
      }
      for (const { type, resource } of resources.all(ns, id) as { type: string; resource: string }[]) {
        const leased = leasedNode(ns, type, resource, flat);
        if (leased) this.#roots.add(leased);
      }
    }
  }

  /** Without a time an image stays for ever; with one it stays until then. */
  #readImages(): void {
    const rows = this.#db.all<Labelled & { digest: string }>('SELECT ns, name AS id, labels, digest FROM images');
    for (const row of rows) {
      const image = node('image', row.ns, row.id);
      const meaning = this.#readLabels(image, row);
      this.#readConditions(image, meaning);
      this.#refer(image, node('content', row.ns, row.digest));
      this.#refer(node('image-flat', row.ns, row.id), node('content-flat', row.ns, row.digest));
      if (!this.#hasPassed(meaning.expiresAt)) this.#roots.add(image);
    }
  }

  #readContent(): void {
    for (const row of this.#db.all<Labelled>('SELECT ns, digest AS id, labels FROM blobs')) {
      const content = node('content', row.ns, row.id);
      const meaning = this.#readLabels(content, row);
      this.#readConditions(content, meaning);
      if (meaning.root) this.#roots.add(content);
    }
    const ingests = this.#db.all<{ ns: string; ref: string; expected: string | null; expires_at: number }>(
      'SELECT ns, ref, expected, expires_at FROM ingests',
    );
    for (const { ns, ref, expected, expires_at } of ingests) {
      const ingest = node('ingest', ns, ref);
      if (expected !== null) this.#refer(ingest, node('content', ns, expected));
      // A leased one expires at the beginning of time: only the lease holds it.
      if (expires_at !== 0 && !this.#hasPassed(expires_at)) this.#roots.add(ingest);
    }
  }

  #readSnapshots(): void {
    const rows = this.#db.all<Labelled & { parent: string | null }>(
      `SELECT s.ns, s.snapshotter || '/' || s.name AS id, s.labels, p.snapshotter || '/' || p.name AS parent
       FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`,
    );
    for (const row of rows) {
      const snapshot = node('snapshot', row.ns, row.id);
      const { root, usedAt } = this.#readLabels(snapshot, row);
      if (root) this.#roots.add(snapshot);
      if (usedAt.length > 0) this.#usedAt.set(snapshot, usedAt);
      if (row.parent === null) continue;
      this.#refer(snapshot, node('snapshot', row.ns, row.parent));
      this.#refer(node('snapshot-flat', row.ns, row.id), node('snapshot-flat', row.ns, row.parent));
    }
  }

  #readContainers(): void {
    const rows = this.#db.all<Labelled & { snapshotter: string; snapshot_key: string }>(
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

  /** What the labels of a sandbox name stays for as long as the sandbox does. */
  #readSandboxes(): void {
    for (const row of this.#db.all<Labelled>('SELECT ns, id, labels FROM sandboxes')) {
      for (const to of this.#meaningOf('sandbox', row).references) this.#roots.add(to);
    }
  }

  #readLabels(resource: Node, row: Labelled): LabelReferences {
    const [type = ''] = resource.split('\0', 1);
    const meaning = this.#meaningOf(type, row);
    for (const to of meaning.references) this.#refer(resource, to);
    for (const from of meaning.backReferences) this.#refer(from, resource);
    return meaning;
  }

  /** Images and content may set conditions, other resources not. */
  #readConditions(from: Node, { conditions }: LabelReferences): void {
    for (const condition of conditions) this.#conditions.push({ from, condition });
  }

  #meaningOf(type: string, { ns, id, labels }: Labelled): LabelReferences {
    try {
      return labelReferences(ns, labelsFromColumn(labels));
    } catch (error) {
      const context = `labels of ${type} "${id}"; until it is deleted, nothing is collected there`;
      const { message } = BerthError.from(error, context);
      this.#db.reportDamage(`garbage collection in namespace "${ns}"`, new BerthError('data_loss', message));
      this.#kept.add(ns);
      return labelReferences(ns, {});
    }
  }

  /** Only now is it known when all snapshots were used. */
  #weighConditions(): void {
    for (const { from, condition } of this.#conditions) {
      const { snapshot, operator, ageMs } = condition;
      for (const time of this.#usedAt.get(snapshot) ?? []) {
        const age = this.#now - time;
        if (operator === '>' ? age <= ageMs : age >= ageMs) continue;
        this.#refer(from, snapshot);
        if (operator === '<') this.#expires(time + ageMs);
      }
    }
  }

  #keepAll(ns: string): void {
    const all = this.#db.all<{ type: NodeType; id: string }>(
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

  /** Whether a time is over; one that isn't is remembered. No time never is. */
  #hasPassed(time: number | undefined): boolean {
    if (time === undefined) return false;
    if (time < this.#now) return true;
    this.#expires(time);
    return false;
  }

  #expires(at: number): void {
    if (at < (this.#nextExpiry ?? Infinity)) this.#nextExpiry = at;
  }
}

function leasedNode(ns: string, type: string, resource: string, flat: boolean): Node | undefined {
  switch (type) {
    case 'content':
      return node(flat ? 'content-flat' : 'content', ns, resource);
    case 'images':
      return node(flat ? 'image-flat' : 'image', ns, resource);
    case 'ingests':
      return node('ingest', ns, resource);
    default: {
      const [, snapshotter] = /^snapshots\/(.+)$/.exec(type) ?? [];
      return snapshotter === undefined
        ? undefined
        : node(flat ? 'snapshot-flat' : 'snapshot', ns, `${snapshotter}/${resource}`);
    }
  }
}
