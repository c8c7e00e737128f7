import type { Labels } from '#common/labels.ts';

/** A committed blob as one namespace sees it. The bytes are shared by all namespaces; labels and times are not. */
export interface ContentInfo {
  /** `sha256:<hex>`. Immutable. */
  readonly digest: string;
  /** Bytes. Immutable. */
  readonly size: number;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
  /** The one mutable field; the collector follows `containerd.io/gc.*` in it. */
  readonly labels: Labels;
}

/** A write that has begun and is neither committed nor aborted. It outlives its writer and the daemon. */
export interface IngestStatus {
  /** The client's name for this write, unique in the namespace. */
  readonly ref: string;
  readonly startedAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
  /** Bytes received so far. */
  readonly offset: number;
  /** Bytes expected, 0 when the writer did not say. */
  readonly total: number;
  /** The digest announced when the write was opened, if any. */
  readonly expected: string | undefined;
}

/** How {@link ContentStore.writer} opens a write. */
export interface WriterOptions {
  readonly ref: string;
  /** Bytes the finished blob will have; 0 or absent means unknown. */
  readonly total?: number;
  /** Digest the finished blob will have; absent means unknown until commit. */
  readonly expected?: string;
  /** The lease that protects the write and, once committed, the blob. */
  readonly lease?: string | undefined;
  /** Ends the wait for a busy ref. Without it a busy ref is an error at once. */
  readonly signal?: AbortSignal;
}

export interface CommitOptions {
  /** Checked against what was written; 0 or absent means not checked. */
  readonly size?: number;
  /** Checked against what was written; absent means the digest announced at open, if any. */
  readonly expected?: string | undefined;
  readonly labels?: Labels;
  readonly lease?: string | undefined;
}

/** Holds the lock of one ref. {@link close} releases it and keeps what was written for a later writer. */
export interface ContentWriter extends AsyncDisposable {
  readonly ref: string;
  /** Bytes written so far: where the next {@link write} goes. */
  readonly offset: number;
  readonly status: IngestStatus;
  /** Appends. Hashing goes along; calls must not overlap. */
  write(data: Uint8Array): Promise<void>;
  /**
   * Drops what lies beyond `size`.
   * @throws invalid_argument when `size` is beyond the offset.
   */
  truncate(size: number): Promise<void>;
  /** Digest of what was written so far. */
  digest(): string;
  /**
   * Syncs the bytes, moves them in place, records them in the namespace and ends the writer. Answers the blob's digest.
   * @throws failed_precondition when size or digest are not what was expected (the ingest stays, to be aborted);
   *   already_exists when the namespace has the blob already (the ingest is gone and the blob is in the lease);
   *   not_found when the ingest was aborted.
   */
  commit(options?: CommitOptions): Promise<string>;
  /** Releases the ref. Safe to call twice and after commit. */
  close(): Promise<void>;
}

/** An open blob. The descriptor keeps the bytes readable even when the blob is deleted meanwhile. */
export interface ContentReader extends AsyncDisposable {
  readonly path: string;
  readonly size: number;
  /** Reads at most `length` bytes at `offset`; an empty answer is the end. */
  read(offset: number, length: number): Promise<Buffer>;
  /** Reads as many bytes at `offset` as the buffer is long. @throws data_loss when there are fewer */
  fill(buffer: Buffer, offset: number): Promise<void>;
  /** The bytes from `offset` (0) on, `length` at most (all), in pieces. */
  stream(offset?: number, length?: number): AsyncIterable<Buffer>;
  close(): Promise<void>;
}

/** Content-addressed blobs. Every method throws invalid_argument for a malformed digest. */
export interface ContentStore {
  /** @throws not_found */
  info(ns: string, digest: string): ContentInfo;
  /** Blobs of the namespace that match any of the filters, by digest. @throws invalid_argument for a bad filter. */
  list(ns: string, filters?: readonly string[]): ContentInfo[];
  /**
   * Replaces the labels that `fieldpaths` names (`labels`, `labels.<key>`; an empty value removes the key); all of them
   * when there are none.
   * @throws not_found; invalid_argument for any other path.
   */
  update(ns: string, digest: string, labels: Labels, fieldpaths?: readonly string[]): ContentInfo;
  /** Forgets the blob in this namespace; the bytes go with the next collection. @throws not_found */
  delete(ns: string, digest: string): void;
  /** @throws not_found when this namespace does not have the blob. */
  open(ns: string, digest: string): Promise<ContentReader>;
  /** Whole blob at once. @throws not_found; resource_exhausted when it is larger than `limit` bytes. */
  readAll(ns: string, digest: string, limit: number): Promise<Buffer>;
  /** Where the bytes of a blob lie, whether or not they are there. */
  pathOf(digest: string): string;
  /** @throws not_found */
  status(ns: string, ref: string): Promise<IngestStatus>;
  listStatuses(ns: string, filters?: readonly string[]): Promise<IngestStatus[]>;
  /** Drops an ingest, also under its writer, whose commit then fails with not_found. @throws not_found */
  abort(ns: string, ref: string): Promise<void>;
  /**
   * Opens or resumes a write; with another `total` than it was begun with it begins anew. When another namespace has
   * `expected`, the writer answered is already at its end: commit records the blob here too, and no byte is sent again.
   * @throws already_exists when the namespace has `expected` (it is added to the lease); unavailable when the ref is
   *   held by another writer.
   */
  writer(ns: string, options: WriterOptions): Promise<ContentWriter>;
}
