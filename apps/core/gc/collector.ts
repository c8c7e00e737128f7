import { performance } from 'node:perf_hooks';
import type { EventPublisher } from '../events/events.ts';
import type { Database } from '../metadata/database.ts';
import { ResourceGraph } from './resource-graph.ts';

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

export interface CollectorParts {
  readonly db: Database;
  readonly events: EventPublisher;
  readonly content: {
    isBeingWritten(ns: string, ref: string): boolean;
    sweepFiles(force: boolean): { readonly blobs: number; readonly bytes: number };
  };
  readonly snapshotters: { cleanup(): Promise<void> };
}

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
    return { ...counts, bytes, pauseMs, nextExpiry };
  }

  #sweepRows() {
    const graph = new ResourceGraph(this.#parts.db, Date.now());
    const alive = graph.alive();
    const counts = {
      images: this.#sweepImages((ns, name) => alive.has('image', ns, name)),
      blobs: this.#sweepBlobs((ns, digest) => alive.has('content', ns, digest)),
      snapshots: this.#sweepSnapshots((ns, key) => alive.has('snapshot', ns, key)),
      ingests: this.#sweepIngests((ns, ref) => alive.has('ingest', ns, ref)),
      leases: graph.expiredLeases.length,
    };
    for (const { ns, id } of graph.expiredLeases) {
      this.#parts.db.run('DELETE FROM leases WHERE ns = ? AND id = ?', ns, id);
    }
    return { counts, nextExpiry: graph.nextExpiry };
  }

  #sweepImages(isAlive: (ns: string, name: string) => boolean): number {
    const { db } = this.#parts;
    const rows = db.all<{ ns: string; name: string }>('SELECT ns, name FROM images');
    const dead = rows.filter(({ ns, name }) => !isAlive(ns, name));
    for (const { ns, name } of dead) {
      db.run('DELETE FROM images WHERE ns = ? AND name = ?', ns, name);
      this.#announce(ns, '/images/delete', 'containerd.services.images.v1.ImageDelete', { name });
    }
    return dead.length;
  }

  /** Unannounced, as in containerd. */
  #sweepBlobs(isAlive: (ns: string, digest: string) => boolean): number {
    const { db } = this.#parts;
    const rows = db.all<{ ns: string; digest: string }>('SELECT ns, digest FROM blobs');
    const dead = rows.filter(({ ns, digest }) => !isAlive(ns, digest));
    for (const { ns, digest } of dead) db.run('DELETE FROM blobs WHERE ns = ? AND digest = ?', ns, digest);
    return dead.length;
  }

  #sweepIngests(isAlive: (ns: string, ref: string) => boolean): number {
    const { db, content } = this.#parts;
    const rows = db.all<{ id: number; ns: string; ref: string }>('SELECT id, ns, ref FROM ingests');
    const dead = rows.filter(({ ns, ref }) => !isAlive(ns, ref) && !content.isBeingWritten(ns, ref));
    for (const { id } of dead) db.run('DELETE FROM ingests WHERE id = ?', id);
    return dead.length;
  }

  /** A child's id is higher than its parent's: leaves go first. */
  #sweepSnapshots(isAlive: (ns: string, key: string) => boolean): number {
    const { db } = this.#parts;
    const rows = db.all<{ id: number; ns: string; snapshotter: string; key: string }>(
      'SELECT id, ns, snapshotter, name AS key FROM snapshots ORDER BY id DESC',
    );
    const dead = rows.filter(({ ns, snapshotter, key }) => !isAlive(ns, `${snapshotter}/${key}`));
    for (const { id, ns, snapshotter, key } of dead) {
      db.run('DELETE FROM snapshots WHERE id = ?', id);
      this.#announce(ns, '/snapshot/remove', 'containerd.events.SnapshotRemove', { key, snapshotter });
    }
    return dead.length;
  }

  #announce(...event: Parameters<EventPublisher['publishTyped']>): void {
    this.#parts.db.afterCommit(() => this.#parts.events.publishTyped(...event));
  }
}
