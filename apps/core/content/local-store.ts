import { readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { parseDigest } from '#common/digest.ts';
import { BerthError } from '#common/errors.ts';
import { makeLastingDirectory } from '#common/flush.ts';
import type { Labels } from '#common/labels.ts';
import { hasErrno } from '#common/node-error.ts';
import type { EventPublisher } from '../events/events.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { labelsFromColumn, labelsToColumn, updateLabels } from '../metadata/labels.ts';
import { RecordFiles } from '../metadata/record-files.ts';
import type { RecordWriter } from '../metadata/record-writer.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { openReader } from './blob-reader.ts';
import { BlobWriter } from './blob-writer.ts';
import { Ingests } from './ingests.ts';
import { Pins } from './pins.ts';
import type { ContentInfo, ContentReader, ContentStore, ContentWriter, IngestStatus, WriterOptions } from './store.ts';

interface BlobRow {
  readonly ns: string;
  readonly digest: string;
  readonly size: number;
  readonly labels: string;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface ContentStoreParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  readonly leases: LeaseStore;
  readonly events: EventPublisher;
  /** Called when a blob was forgotten: time to collect. */
  readonly onRelease: () => void;
  readonly recordWriter: RecordWriter;
}

/**
 * Blobs as files below one directory: `blobs/sha256/<hex>` for what is whole, `ingest/<id>` for what is being written.
 * Files are shared by all namespaces; who has what is in the database.
 */
export class LocalContentStore implements ContentStore {
  readonly #root: string;
  readonly #db: Database;
  readonly #parts: ContentStoreParts;
  readonly #ingests: Ingests;
  readonly #records: RecordFiles;
  readonly #pins = new Pins();
  /** Whether there may be files without a row: a predecessor may have left some. */
  #rubbish = true;

  /** Makes the directories. */
  constructor(root: string, parts: ContentStoreParts) {
    this.#root = root;
    this.#db = parts.db;
    this.#parts = parts;
    makeLastingDirectory(join(root, 'blobs/sha256'), 0o700);
    makeLastingDirectory(join(root, 'ingest'), 0o700);
    this.#ingests = new Ingests(parts.db, join(root, 'ingest'), (digest) => this.pathOf(digest));
    this.#records = blobRecordFiles(root, parts.recordWriter);
  }

  info(ns: string, digest: string): ContentInfo {
    parseDigest(digest);
    const row = this.#db.get<BlobRow>('SELECT * FROM blobs WHERE ns = ? AND digest = ?', ns, digest);
    if (!row) throw new BerthError('not_found', `content ${digest} not found`);
    return recordOf(row, infoOf, nameOf);
  }

  list(ns: string, filters?: readonly string[]): ContentInfo[] {
    const matches = matcher(filters);
    const rows = this.#db.all<BlobRow>('SELECT * FROM blobs WHERE ns = ? ORDER BY digest', ns);
    return recordsOf(this.#db, rows, infoOf, nameOf).filter(({ digest, size, labels }) =>
      matches({ fields: { digest, size: String(size) }, maps: { labels } }),
    );
  }

  update(ns: string, digest: string, labels: Labels, fieldpaths?: readonly string[]): ContentInfo {
    return this.#db.tx(() => {
      const current = this.info(ns, digest);
      const updated = updateLabels(current.labels, labels, fieldpaths, `content ${digest}`);
      const updatedAt = timeNow();
      this.#records.write(ns, digest, fileOf({ ...current, labels: updated }));
      this.#db.run(
        'UPDATE blobs SET labels = ?, updated_at = ? WHERE ns = ? AND digest = ?',
        labelsToColumn(updated),
        timeToColumn(updatedAt),
        ns,
        digest,
      );
      return { ...current, labels: updated, updatedAt };
    });
  }

  delete(ns: string, digest: string): void {
    parseDigest(digest);
    const { changes } = this.#db.run('DELETE FROM blobs WHERE ns = ? AND digest = ?', ns, digest);
    if (changes === 0) throw new BerthError('not_found', `content ${digest} not found`);
    this.#rubbish = true;
    this.#parts.events.publishTyped(ns, '/content/delete', 'containerd.events.ContentDelete', { digest });
    this.#parts.onRelease();
  }

  async open(ns: string, digest: string): Promise<ContentReader> {
    const { size } = this.info(ns, digest);
    return openReader(this.pathOf(digest), digest, size);
  }

  async readAll(ns: string, digest: string, limit: number): Promise<Buffer> {
    await using reader = await this.open(ns, digest);
    if (reader.size > limit) {
      throw new BerthError('resource_exhausted', `content ${digest} has ${reader.size} bytes, more than ${limit}`);
    }
    const pieces: Buffer[] = [];
    for await (const piece of reader.stream()) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  pathOf(digest: string): string {
    const { algorithm, hex } = parseDigest(digest);
    return join(this.#root, 'blobs', algorithm, hex);
  }

  async status(ns: string, ref: string): Promise<IngestStatus> {
    return this.#ingests.status(ns, ref);
  }

  async listStatuses(ns: string, filters?: readonly string[]): Promise<IngestStatus[]> {
    const matches = matcher(filters);
    return this.#ingests.list(ns).filter(({ ref }) => matches({ fields: { ref }, maps: {} }));
  }

  async abort(ns: string, ref: string): Promise<void> {
    this.#ingests.remove(this.#ingests.require(ns, ref));
    // A commit that was cut short may have moved the file in place already.
    this.#rubbish = true;
  }

  async writer(ns: string, options: WriterOptions): Promise<ContentWriter> {
    const { ref, expected, lease, signal } = options;
    if (ref === '') throw new BerthError('invalid_argument', 'a write needs a ref');
    if (expected) requireSha256(expected);
    this.#refuseExisting(ns, expected, lease);
    const lock = await this.#ingests.lock(ns, ref, signal);
    const pin = expected ? this.#pins.pin(expected) : undefined;
    try {
      const ingest = this.#db.tx(() => {
        // Another writer may have committed the same blob while this one waited for the ref.
        this.#refuseExisting(ns, expected, lease);
        this.#parts.namespaces.ensure(ns);
        const begun = this.#ingests.begin(ns, ref, {
          total: options.total ?? 0,
          expected,
          leased: lease !== undefined,
        });
        if (lease)
          this.#parts.leases.addResource(ns, lease, {
            type: 'ingests',
            id: ref,
          });
        return begun;
      });
      const shared = expected ? this.#sharedSize(expected, options.total ?? 0) : undefined;
      return await BlobWriter.open(ingest, shared, {
        ns,
        db: this.#db,
        leases: this.#parts.leases,
        events: this.#parts.events,
        pins: this.#pins,
        records: this.#records,
        pathOf: (digest) => this.pathOf(digest),
        release: () => {
          pin?.release();
          lock.release();
        },
      });
    } catch (error) {
      pin?.release();
      lock.release();
      throw error;
    }
  }

  /**
   * Deletes the files that no namespace has, and ingests without a row. A file that a writer or reader of this process
   * is about to need is pinned and stays. Rows must be durable before.
   * @param force look for them also when no row was deleted through this store
   */
  sweepFiles(force: boolean): { readonly blobs: number; readonly bytes: number } {
    const swept = { blobs: 0, bytes: 0 };
    if (!this.#rubbish && !force) return swept;
    this.#rubbish = false;
    const directory = join(this.#root, 'blobs/sha256');
    for (const hex of readdirSync(directory)) {
      const digest = `sha256:${hex}`;
      if (this.#isNeeded(digest)) continue;
      const path = join(directory, hex);
      try {
        swept.bytes += statSync(path).size;
        unlinkSync(path);
        swept.blobs++;
      } catch (error) {
        if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, `delete ${path}`);
      }
    }
    this.#ingests.sweepFiles();
    this.#tidyRecords();
    return swept;
  }

  /** Whether a writer of this process holds the ref: the collector leaves it alone. */
  isBeingWritten(ns: string, ref: string): boolean {
    return this.#ingests.isLocked(ns, ref);
  }

  #tidyRecords(): void {
    const rows = this.#db.all<BlobRow>('SELECT * FROM blobs');
    this.#records.tidy(
      rows.map((row) => ({
        ns: row.ns,
        id: row.digest,
        updatedAt: timeFromColumn(row.updated_at),
        record: () => fileOf(infoOf(row)),
      })),
    );
  }

  #isNeeded(digest: string): boolean {
    return (
      this.#pins.has(digest) ||
      this.#db.get('SELECT 1 FROM blobs WHERE digest = ? LIMIT 1', digest) !== undefined ||
      this.#db.get('SELECT 1 FROM ingests WHERE expected = ? LIMIT 1', digest) !== undefined
    );
  }

  /** @throws already_exists, once the blob is in the lease. */
  #refuseExisting(ns: string, digest: string | undefined, lease: string | undefined): void {
    if (!digest || !this.#db.get('SELECT 1 FROM blobs WHERE ns = ? AND digest = ?', ns, digest)) return;
    if (lease)
      this.#parts.leases.addResource(ns, lease, {
        type: 'content',
        id: digest,
      });
    throw new BerthError('already_exists', `content ${digest} already exists`);
  }

  /** Size of a whole blob that is on disk already, thanks to another namespace or a commit cut short. */
  #sharedSize(digest: string, total: number): number | undefined {
    const stat = statSync(this.pathOf(digest), { throwIfNoEntry: false });
    return stat && (total === 0 || total === stat.size) ? stat.size : undefined;
  }
}

/** What the records of blobs say: `<root>/owners/<namespace>/<hex>`. */
export function blobRecordFiles(root: string, writer?: RecordWriter): RecordFiles {
  return new RecordFiles(join(root, 'owners'), (digest) => parseDigest(digest).hex, writer);
}

function fileOf({ size, labels, createdAt }: ContentInfo): object {
  return { size, labels, createdAt: timeToColumn(createdAt) };
}

function requireSha256(digest: string): void {
  const { algorithm } = parseDigest(digest);
  if (algorithm !== 'sha256') {
    throw new BerthError('invalid_argument', `content ${digest}: the content store keeps sha256 digests only`);
  }
}

function nameOf({ ns, digest }: BlobRow): string {
  return `content ${digest} in namespace "${ns}"`;
}

function infoOf(row: BlobRow): ContentInfo {
  return {
    digest: row.digest,
    size: row.size,
    labels: labelsFromColumn(row.labels),
    createdAt: timeFromColumn(row.created_at),
    updatedAt: timeFromColumn(row.updated_at),
  };
}
