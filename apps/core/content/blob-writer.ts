import { createHash, type Hash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { chmod, copyFile, type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import type { EventPublisher } from '../events/events.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { cleanLabels, labelsToColumn } from '../metadata/labels.ts';
import type { RecordFiles } from '../metadata/record-files.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import { forgetIngest, type Ingest } from './ingests.ts';
import type { Pins } from './pins.ts';
import type { CommitOptions, ContentWriter, IngestStatus } from './store.ts';

export interface WriterParts {
  readonly ns: string;
  readonly db: Database;
  readonly leases: LeaseStore;
  readonly events: EventPublisher;
  readonly pins: Pins;
  /** What the records say, beside the blobs. */
  readonly records: RecordFiles;
  readonly pathOf: (digest: string) => string;
  /** Gives the ref back. */
  readonly release: () => void;
}

/**
 * One write to one ingest. Kill-safe: until the transaction of {@link commit} the ingest's row stands, and the bytes
 * are either in its file (the next writer goes on after them) or whole in place (the next writer finds them by the
 * digest it expects).
 */
export class BlobWriter implements ContentWriter {
  readonly #ingest: Ingest;
  readonly #parts: WriterParts;
  /** Open unless the blob is `#shared`. */
  #file: FileHandle | undefined;
  #hash: Hash = createHash('sha256');
  #offset = 0;
  #updatedAt: Temporal.Instant;
  /** The digest of a whole blob that another namespace has; the first write or truncation makes a copy of it. */
  #shared: string | undefined;
  #closed = false;

  private constructor(ingest: Ingest, parts: WriterParts) {
    this.#ingest = ingest;
    this.#parts = parts;
    this.#updatedAt = ingest.startedAt;
  }

  /** @param sharedSize size of the blob `ingest.expected` when it is on disk already. */
  static async open(ingest: Ingest, sharedSize: number | undefined, parts: WriterParts): Promise<BlobWriter> {
    const writer = new BlobWriter(ingest, parts);
    if (sharedSize !== undefined) {
      writer.#shared = ingest.expected;
      writer.#offset = sharedSize;
      return writer;
    }
    try {
      const file = await writer.#openFile();
      if (writer.#offset > 0) {
        const { mtimeNs } = await file.stat({ bigint: true });
        writer.#updatedAt = Temporal.Instant.fromEpochNanoseconds(mtimeNs);
      }
    } catch (error) {
      await writer.#file?.close();
      throw BerthError.from(error, `open ingest ${ingest.path} for ref "${ingest.ref}"`);
    }
    return writer;
  }

  get ref(): string {
    return this.#ingest.ref;
  }

  get offset(): number {
    return this.#offset;
  }

  get status(): IngestStatus {
    const { ref, startedAt, total, expected } = this.#ingest;
    const whole = this.#shared === undefined ? total : this.#offset;
    return {
      ref,
      startedAt,
      updatedAt: this.#updatedAt,
      offset: this.#offset,
      total: whole,
      expected,
    };
  }

  digest(): string {
    return this.#shared ?? `sha256:${this.#hash.copy().digest('hex')}`;
  }

  async write(data: Uint8Array): Promise<void> {
    if (data.length === 0) return;
    const file = await this.#unshared();
    const writing = this.#writeAll(file, data);
    // The thread pool writes while this thread hashes.
    this.#hash.update(data);
    try {
      await writing;
    } catch (error) {
      // The file must not be longer than what was hashed: the next writer would resume after bytes nobody acknowledged.
      await file.truncate(this.#offset).catch(() => {});
      await this.#rehash();
      const remedy = hasErrno(error, 'ENOSPC', 'EDQUOT') ? ' (free space on its file system, then write on)' : '';
      throw BerthError.from(error, `write ref "${this.ref}" to ${this.#ingest.path}${remedy}`);
    }
    this.#offset += data.length;
    this.#updatedAt = timeNow();
  }

  async #writeAll(file: FileHandle, data: Uint8Array): Promise<void> {
    for (let written = 0; written < data.length; ) {
      const { bytesWritten } = await file.write(data, written, data.length - written, this.#offset + written);
      written += bytesWritten;
    }
  }

  async truncate(size: number): Promise<void> {
    if (size > this.#offset || size < 0) {
      throw new BerthError('invalid_argument', `ref "${this.ref}": cannot truncate ${this.#offset} bytes to ${size}`);
    }
    const file = await this.#unshared();
    await file.truncate(size);
    await this.#rehash();
    this.#updatedAt = timeNow();
  }

  async commit(options: CommitOptions = {}): Promise<string> {
    this.#requireOpen();
    this.#requireIngest();
    const labels = cleanLabels(options.labels);
    const digest = this.#checked(options);
    const pin = this.#parts.pins.pin(digest);
    try {
      if (this.#file) await this.#moveInPlace(this.#file, digest);
      // An earlier writer may have begun with bytes of its own.
      else await rm(this.#ingest.path, { force: true });
      const existed = this.#record(digest, labels, options.lease);
      if (existed) throw new BerthError('already_exists', `content ${digest} already exists`);
    } finally {
      pin.release();
      await this.close();
    }
    return digest;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      // The kernel's own stamp is up to a tick late, and the next writer tells the same time as this one did.
      const seconds = timeToColumn(this.#updatedAt) / 1e6;
      await this.#file?.utimes(seconds, seconds);
      await this.#file?.close();
    } finally {
      this.#parts.release();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @throws not_found when the write was aborted meanwhile. */
  #requireIngest(): void {
    if (this.#parts.db.get('SELECT 1 FROM ingests WHERE id = ?', this.#ingest.id)) return;
    throw new BerthError('not_found', `ref "${this.ref}" not found: the write was aborted`);
  }

  /** The digest of what was written, when it is what was asked for. */
  #checked({ size, expected = this.#ingest.expected }: CommitOptions): string {
    if (size && size !== this.#offset) {
      throw new BerthError(
        'failed_precondition',
        `ref "${this.ref}": unexpected commit size ${this.#offset}, expected ${size}`,
      );
    }
    const digest = this.digest();
    if (expected && expected !== digest) {
      throw new BerthError(
        'failed_precondition',
        `ref "${this.ref}": unexpected commit digest ${digest}, expected ${expected}`,
      );
    }
    return digest;
  }

  async #moveInPlace(file: FileHandle, digest: string): Promise<void> {
    const path = this.#parts.pathOf(digest);
    try {
      if (existsSync(path)) {
        await rm(this.#ingest.path, { force: true });
        return;
      }
      await file.sync();
      await chmod(this.#ingest.path, 0o444);
      await rename(this.#ingest.path, path);
      const directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      throw BerthError.from(error, `commit ref "${this.ref}" to ${path}`);
    }
  }

  /** Answers whether the namespace had the blob before. */
  #record(digest: string, labels: Readonly<Record<string, string>>, lease: string | undefined): boolean {
    const { ns, db, leases, events, records } = this.#parts;
    return db.tx(() => {
      this.#requireIngest();
      const now = timeToColumn(timeNow());
      const { changes } = db.run(
        `INSERT INTO blobs (ns, digest, size, labels, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
        ns,
        digest,
        this.#offset,
        labelsToColumn(labels),
        now,
        now,
      );
      forgetIngest(db, this.#ingest);
      if (lease) leases.addResource(ns, lease, { type: 'content', id: digest });
      if (changes > 0) {
        records.write(ns, digest, { size: this.#offset, labels, createdAt: now });
        db.afterCommit(() =>
          events.publishTyped(ns, '/content/create', 'containerd.events.ContentCreate', { digest, size: this.#offset }),
        );
      }
      return changes === 0;
    });
  }

  #requireOpen(): void {
    if (this.#closed) throw new BerthError('failed_precondition', `ref "${this.ref}": its writer is closed`);
  }

  /** The ingest's file; of a shared blob a copy is made first. */
  async #unshared(): Promise<FileHandle> {
    this.#requireOpen();
    if (this.#file) return this.#file;
    if (this.#shared !== undefined) {
      await copyFile(this.#parts.pathOf(this.#shared), this.#ingest.path, constants.COPYFILE_FICLONE);
      await chmod(this.#ingest.path, 0o600);
      this.#shared = undefined;
    }
    return await this.#openFile();
  }

  async #openFile(): Promise<FileHandle> {
    this.#file = await open(this.#ingest.path, constants.O_RDWR | constants.O_CREAT, 0o600);
    await this.#rehash();
    return this.#file;
  }

  /** Reads what is there, from its start, into a new hash. */
  async #rehash(): Promise<void> {
    this.#hash = createHash('sha256');
    this.#offset = 0;
    const buffer = Buffer.allocUnsafe(1 << 20);
    for (;;) {
      const { bytesRead } = (await this.#file?.read(buffer, 0, buffer.length, this.#offset)) ?? { bytesRead: 0 };
      if (bytesRead === 0) return;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#offset += bytesRead;
    }
  }
}
