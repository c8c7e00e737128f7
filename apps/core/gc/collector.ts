import { BerthError } from '#common/errors.ts';
import type { EventPublisher } from '../events/events.ts';
import type { Database } from '../metadata/database.ts';
import { node } from './nodes.ts';
import { ResourceGraph } from './resource-graph.ts';

/** Time from a deletion to the collection it asks for: more deletions mostly follow. */
const pauseMs = 500;
/** Longest wait for something to expire; setTimeout takes no more than 24 days. */
const longestWaitMs = 24 * 3_600_000;

/** What a collection took away. */
export interface Collected {
  readonly images: number;
  readonly blobs: number;
  readonly snapshots: number;
  readonly ingests: number;
  readonly leases: number;
  /** Bytes of blobs deleted from disk. */
  readonly bytes: number;
}

export interface CollectorParts {
  readonly db: Database;
  readonly events: EventPublisher;
  readonly content: {
    isBeingWritten(ns: string, ref: string): boolean;
    sweepFiles(force: boolean): { readonly blobs: number; readonly bytes: number };
  };
  readonly snapshotters: { cleanup(): Promise<void> };
  /** Told of every collection in the background that took something away, and of every one that failed. */
  readonly onCollected: (result: Collected | BerthError) => void;
}

/**
 * Deletes what nothing needs: marks from leases, images, containers and labels, sweeps rows in the same transaction,
 * then files. A write under way is never in its way: its ingest is a root while a lease holds it or its day lasts, and
 * a ref that is open stays in any case.
 */
export class Collector {
  readonly #parts: CollectorParts;
  #timer: { readonly at: number; readonly handle: NodeJS.Timeout } | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #stopped = false;
  /** An earlier daemon may have left directories of snapshots behind. */
  #firstTime = true;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /** Asks for a collection soon. */
  request(): void {
    this.#schedule(Date.now() + pauseMs);
  }

  /** Collects now; resolves when rows and files are gone. Collections run one after another. */
  collect(): Promise<Collected> {
    const result = this.#running.then(() => this.#collect());
    this.#running = result.catch(() => {});
    return result;
  }

  /** Ends the schedule and waits for the collection under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer?.handle);
    await this.#running;
  }

  #schedule(at: number): void {
    if (this.#stopped || (this.#timer && this.#timer.at <= at)) return;
    clearTimeout(this.#timer?.handle);
    const wait = Math.min(Math.max(0, at - Date.now()), longestWaitMs);
    const handle = setTimeout(() => this.#onTimer(), wait);
    handle.unref();
    this.#timer = { at, handle };
  }

  #onTimer(): void {
    this.#timer = undefined;
    this.collect().then(
      (collected) => {
        if (Object.values(collected).some((count) => count > 0)) this.#parts.onCollected(collected);
      },
      (error: unknown) => this.#parts.onCollected(BerthError.from(error, 'garbage collection')),
    );
  }

  async #collect(): Promise<Collected> {
    const { db, content, snapshotters } = this.#parts;
    const { counts, nextExpiry } = db.tx(() => this.#sweepRows());
    await db.durable();
    const { bytes } = content.sweepFiles(counts.blobs + counts.ingests > 0);
    if (counts.snapshots > 0 || this.#firstTime) await snapshotters.cleanup();
    this.#firstTime = false;
    if (nextExpiry !== undefined) this.#schedule(nextExpiry + pauseMs);
    return { ...counts, bytes };
  }

  #sweepRows() {
    const { db, content } = this.#parts;
    const graph = new ResourceGraph(db, Date.now());
    const alive = graph.alive();
    const counts = {
      images: 0,
      blobs: 0,
      snapshots: 0,
      ingests: 0,
      leases: graph.expiredLeases.length,
    };
    for (const { ns, id } of graph.expiredLeases) db.run('DELETE FROM leases WHERE ns = ? AND id = ?', ns, id);
    for (const { ns, name } of db.all<{ ns: string; name: string }>('SELECT ns, name FROM images')) {
      if (alive.has(node('image', ns, name))) continue;
      db.run('DELETE FROM images WHERE ns = ? AND name = ?', ns, name);
      this.#announce(ns, '/images/delete', 'containerd.services.images.v1.ImageDelete', { name });
      counts.images++;
    }
    for (const { ns, digest } of db.all<{ ns: string; digest: string }>('SELECT ns, digest FROM blobs')) {
      if (alive.has(node('content', ns, digest))) continue;
      db.run('DELETE FROM blobs WHERE ns = ? AND digest = ?', ns, digest);
      this.#announce(ns, '/content/delete', 'containerd.events.ContentDelete', {
        digest,
      });
      counts.blobs++;
    }
    for (const { id, ns, ref } of db.all<{
      id: number;
      ns: string;
      ref: string;
    }>('SELECT id, ns, ref FROM ingests')) {
      if (alive.has(node('ingest', ns, ref)) || content.isBeingWritten(ns, ref)) continue;
      db.run('DELETE FROM ingests WHERE id = ?', id);
      counts.ingests++;
    }
    // A child's id is higher than its parent's: leaves go first.
    for (const { id, ns, snapshotter, key } of db.all<{
      id: number;
      ns: string;
      snapshotter: string;
      key: string;
    }>('SELECT id, ns, snapshotter, name AS key FROM snapshots ORDER BY id DESC')) {
      if (alive.has(node('snapshot', ns, `${snapshotter}/${key}`))) continue;
      db.run('DELETE FROM snapshots WHERE id = ?', id);
      this.#announce(ns, '/snapshot/remove', 'containerd.events.SnapshotRemove', { key, snapshotter });
      counts.snapshots++;
    }
    return { counts, nextExpiry: graph.nextExpiry };
  }

  #announce(...event: Parameters<EventPublisher['publishTyped']>): void {
    this.#parts.db.afterCommit(() => this.#parts.events.publishTyped(...event));
  }
}
