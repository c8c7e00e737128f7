import { performance } from 'node:perf_hooks';
import { News } from '#common/news.ts';
import type { EventPublisher } from '../events/events.ts';
import type { Database } from '../metadata/database.ts';
import { type Collectible, ResourceGraph } from './resource-graph.ts';

/** What a collection took away. */
export interface Collected {
  readonly images: number;
  readonly blobs: number;
  readonly snapshots: number;
  readonly ingests: number;
  readonly leases: number;
  /** Bytes of blobs deleted from disk. */
  readonly bytes: number;
  /** How long nothing else could use the database, in milliseconds. */
  readonly pauseMs: number;
  /** When the next thing expires by itself, in milliseconds since the epoch. */
  readonly nextExpiry: number | undefined;
}

/** Told at the end of each collection. */
export const collections = new News<Collected>('berth.gc.collection');

export interface CollectorParts {
  readonly db: Database;
  readonly events: EventPublisher;
  readonly content: {
    isBeingWritten(ns: string, ref: string): boolean;
    sweepFiles(force: boolean): { readonly blobs: number; readonly bytes: number };
  };
  readonly snapshotters: { cleanup(): Promise<void> };
}

const tables = { image: 'images', content: 'blobs', snapshot: 'snapshots', ingest: 'ingests' } as const;
const imageDelete = 'containerd.services.images.v1.ImageDelete';
const snapshotRemove = 'containerd.events.SnapshotRemove';

/**
 * Deletes what nothing needs: marks from leases, images, containers and labels, sweeps rows in the same transaction,
 * then files. A write under way is never in its way: its ingest is a root while a lease holds it or its day lasts, and
 * a ref that is open stays in any case.
 */
export class Collector {
  readonly #parts: CollectorParts;
  #running: Promise<unknown> = Promise.resolve();
  readonly #followers: (() => Promise<void>)[] = [];
  /** An earlier daemon may have left directories of snapshots behind. */
  #firstTime = true;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /** Collects now; resolves when rows and files are gone. Collections run one after another. */
  collect(): Promise<Collected> {
    const result = this.#running.then(() => this.#collect());
    this.#running = result.catch(() => {});
    return result;
  }

  /** Has `work` done at the end of every collection, with what depends on things that are gone by then. */
  follow(work: () => Promise<void>): void {
    this.#followers.push(work);
  }

  /** Waits for the collection under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #collect(): Promise<Collected> {
    const { db, content, snapshotters } = this.#parts;
    const begin = performance.now();
    const { counts, nextExpiry } = db.tx(() => this.#sweepRows());
    const pauseMs = performance.now() - begin;
    await db.durable();
    const { bytes } = content.sweepFiles(counts.blobs + counts.ingests > 0);
    if (counts.snapshots > 0 || this.#firstTime) await snapshotters.cleanup();
    this.#firstTime = false;
    for (const work of this.#followers) await work();
    const collected = { ...counts, bytes, pauseMs, nextExpiry };
    collections.tell(collected);
    return collected;
  }

  #sweepRows() {
    const { db, content } = this.#parts;
    const graph = new ResourceGraph(db, Date.now());
    // A snapshot's row may go before those of its children: only at the end none of them may miss its parent.
    db.run('PRAGMA defer_foreign_keys = ON');
    const counts = { images: 0, blobs: 0, snapshots: 0, ingests: 0, leases: graph.expiredLeases.length };
    for (const garbage of graph.garbage()) {
      const { type, ns, id, row } = garbage;
      if (type === 'ingest' && content.isBeingWritten(ns, id)) continue;
      const table = tables[type];
      db.run(`DELETE FROM ${table} WHERE rowid = ?`, row);
      counts[table]++;
      this.#announce(garbage);
    }
    for (const { ns, id } of graph.expiredLeases) db.run('DELETE FROM leases WHERE ns = ? AND id = ?', ns, id);
    return { counts, nextExpiry: graph.nextExpiry };
  }

  /** Of content nothing is told, as in containerd. */
  #announce({ type, ns, id }: Collectible): void {
    const { db, events } = this.#parts;
    if (type === 'image') {
      const image = { name: id };
      db.afterCommit(() => events.publishTyped(ns, '/images/delete', imageDelete, image));
    } else if (type === 'snapshot') {
      const at = id.indexOf('/');
      const snapshot = { snapshotter: id.slice(0, at), key: id.slice(at + 1) };
      db.afterCommit(() => events.publishTyped(ns, '/snapshot/remove', snapshotRemove, snapshot));
    }
  }
}
