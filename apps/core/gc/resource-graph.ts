import { BerthError } from '#common/errors.ts';
import { labelKeys } from '#common/labels.ts';
import type { Database } from '../metadata/database.ts';
import { labelsFromColumn } from '../metadata/labels.ts';
import { type Condition, type LabelReferences, labelReferences } from './label-references.ts';
import { type CollectibleType, type Node, node, type Owner, reachable } from './nodes.ts';

interface Labelled {
  readonly ns: string;
  readonly id: string;
  readonly labels: string;
}

/** Something that is collected when nothing needs it. */
export interface Collectible {
  readonly type: CollectibleType;
  readonly ns: string;
  readonly id: string;
  /** The rowid of its record. */
  readonly row: number;
  readonly node: Node;
}

/** The column, spared where it can't have a say: text of labels is long, and few of them are the collector's. */
const labels = (table: string): string =>
  `CASE WHEN instr(${table}.labels, 'containerd.io/gc.') > 0 OR NOT json_valid(${table}.labels)
   THEN ${table}.labels ELSE '{}' END AS labels`;

const noReferences = labelReferences('', {});

/** The references between all resources of a database, as they are in one moment. */
export class ResourceGraph {
  readonly #db: Database;
  readonly #now: number;
  readonly #roots = new Map<Node, Owner[]>();
  readonly #references = new Map<Node, Node[]>();
  readonly #collectible: Collectible[] = [];
  /** Whether a lease is flat: only then is there anything to hold that way. */
  #isFlat = false;
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
  }

  /** Every resource that nothing needs, in no order: a snapshot may come after its parent. */
  garbage(): Collectible[] {
    const alive = reachable(this.#roots.keys(), (from) => this.#references.get(from) ?? []);
    const isAlive = ({ type, ns, id, node: itself }: Collectible): boolean =>
      this.#kept.has(ns) ||
      alive.has(itself) ||
      (this.#isFlat && type !== 'ingest' && alive.has(node(`${type}-flat`, ns, id)));
    return this.#collectible.filter((resource) => !isAlive(resource));
  }

  /** Who needs each resource that somebody needs. What a flat lease holds counts like anything else. */
  owners(): Map<Node, readonly Owner[]> {
    const owners = new Map<Node, Owner[]>();
    for (const [root, because] of this.#roots) {
      for (const held of reachable([root], (from) => this.#references.get(from) ?? [])) {
        const plain = held.replace('-flat\0', '\0') as Node;
        const known = owners.get(plain) ?? [];
        owners.set(plain, [...known, ...because.filter((owner) => !known.includes(owner))]);
      }
    }
    return owners;
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
      this.#isFlat ||= flat;
      for (const { type, resource } of resources.all(ns, id) as { type: string; resource: string }[]) {
        const leased = leasedNode(ns, type, resource, flat);
        if (leased) this.#addRoot(leased, { kind: 'lease', ns, id });
      }
    }
  }

  /** Without a time an image stays for ever; with one it stays until then. */
  #readImages(): void {
    const rows = this.#db.all<Labelled & { row: number; digest: string }>(
      `SELECT rowid AS row, ns, name AS id, ${labels('images')}, digest FROM images`,
    );
    for (const row of rows) {
      const image = node('image', row.ns, row.id);
      this.#collectible.push({ type: 'image', ns: row.ns, id: row.id, row: row.row, node: image });
      const meaning = this.#readLabels(image, row);
      this.#readConditions(image, meaning);
      this.#refer(image, node('content', row.ns, row.digest));
      if (this.#isFlat) this.#refer(node('image-flat', row.ns, row.id), node('content-flat', row.ns, row.digest));
      if (!this.#hasPassed(meaning.expiresAt)) this.#addRoot(image, { kind: 'image', ns: row.ns, id: row.id });
    }
  }

  #readContent(): void {
    const blobs = this.#db.all<Labelled & { row: number }>(
      `SELECT rowid AS row, ns, digest AS id, ${labels('blobs')} FROM blobs`,
    );
    for (const row of blobs) {
      const content = node('content', row.ns, row.id);
      this.#collectible.push({ type: 'content', ns: row.ns, id: row.id, row: row.row, node: content });
      const meaning = this.#readLabels(content, row);
      this.#readConditions(content, meaning);
      if (meaning.root) this.#addRoot(content, { kind: 'label', ns: row.ns, id: labelKeys.gcRoot });
    }
    const ingests = this.#db.all<{
      row: number;
      ns: string;
      id: string;
      expected: string | null;
      expires_at: number;
    }>('SELECT id AS row, ns, ref AS id, expected, expires_at FROM ingests');
    for (const { row, ns, id, expected, expires_at } of ingests) {
      const ingest = node('ingest', ns, id);
      this.#collectible.push({ type: 'ingest', ns, id, row, node: ingest });
      if (expected !== null) this.#refer(ingest, node('content', ns, expected));
      // A leased one expires at the beginning of time: only the lease holds it.
      if (expires_at !== 0 && !this.#hasPassed(expires_at)) this.#addRoot(ingest, { kind: 'write', ns, id });
    }
  }

  #readSnapshots(): void {
    const rows = this.#db.all<Labelled & { row: number; parent: string | null }>(
      `SELECT s.id AS row, s.ns, s.snapshotter || '/' || s.name AS id, ${labels('s')},
         p.snapshotter || '/' || p.name AS parent
       FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent`,
    );
    for (const row of rows) {
      const snapshot = node('snapshot', row.ns, row.id);
      this.#collectible.push({ type: 'snapshot', ns: row.ns, id: row.id, row: row.row, node: snapshot });
      const { root, usedAt } = this.#readLabels(snapshot, row);
      if (root) this.#addRoot(snapshot, { kind: 'label', ns: row.ns, id: labelKeys.gcRoot });
      if (usedAt.length > 0) this.#usedAt.set(snapshot, usedAt);
      if (row.parent === null) continue;
      this.#refer(snapshot, node('snapshot', row.ns, row.parent));
      if (this.#isFlat) this.#refer(node('snapshot-flat', row.ns, row.id), node('snapshot-flat', row.ns, row.parent));
    }
  }

  #readContainers(): void {
    const rows = this.#db.all<Labelled & { snapshotter: string; snapshot_key: string }>(
      `SELECT ns, id, ${labels('containers')}, snapshotter, snapshot_key FROM containers`,
    );
    for (const row of rows) {
      const container = node('container', row.ns, row.id);
      this.#addRoot(container, { kind: 'container', ns: row.ns, id: row.id });
      this.#readLabels(container, row);
      if (row.snapshot_key !== '') {
        this.#refer(container, node('snapshot', row.ns, `${row.snapshotter}/${row.snapshot_key}`));
      }
    }
  }

  /** What the labels of a sandbox name stays for as long as the sandbox does. */
  #readSandboxes(): void {
    for (const row of this.#db.all<Labelled>('SELECT ns, id, labels FROM sandboxes')) {
      const owner = { kind: 'sandbox', ns: row.ns, id: row.id } as const;
      for (const to of this.#meaningOf('sandbox', row).references) this.#addRoot(to, owner);
    }
  }

  #readLabels(resource: Node, row: Labelled): LabelReferences {
    if (row.labels === '{}') return noReferences;
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

  #addRoot(root: Node, owner: Owner): void {
    const owners = this.#roots.get(root);
    if (owners) owners.push(owner);
    else this.#roots.set(root, [owner]);
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
