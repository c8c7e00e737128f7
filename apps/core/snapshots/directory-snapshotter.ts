import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';
import { exchange } from '#common/native/index.ts';
import type { EventPublisher } from '../events/events.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsFromColumn, labelsToColumn, updateLabels } from '../metadata/labels.ts';
import { isUpToDate } from '../metadata/record-files.ts';
import type { RecordWriter } from '../metadata/record-writer.ts';
import { timeFromColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { diskUsage } from './disk-usage.ts';
import { filesOf, type SnapshotDriver, type SnapshotFiles } from './driver.ts';
import { type NewDirectory, SnapshotDirectories } from './snapshot-directories.ts';
import { infoOf, type SnapshotRow, SnapshotRows } from './snapshot-rows.ts';
import type {
  CommitSnapshotOptions,
  Mount,
  SnapshotInfo,
  SnapshotKind,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from './snapshotter.ts';

export interface SnapshotterParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  readonly leases: LeaseStore;
  readonly events: EventPublisher;
  /** Called when a snapshot's parent lost a child: time to collect. */
  readonly onRelease: () => void;
  readonly recordWriter: RecordWriter;
  /** Told of what could not be deleted. */
  readonly onLeftOver: (path: string, error: BerthError) => void;
}

/** The file in a snapshot's directory that says what its record does. */
export const snapshotRecordName = 'snapshot.json';

/** What a client asks for with Prepare or View. */
interface Wanted {
  readonly ns: string;
  readonly kind: Exclude<SnapshotKind, 'committed'>;
  readonly key: string;
  readonly parent: string;
  readonly labels: Labels;
  readonly lease: string | undefined;
}

/**
 * Snapshots as directories `<root>/<id>`, whose contents are a driver's business. Ids are small numbers so that the
 * options of a mount with many layers stay short.
 *
 * Kill-safety: a new snapshot's files are made below `<root>/new-…`, moved in place inside the transaction that makes the
 * row, and deleted after the one that deletes it. A directory without a row is rubbish.
 */
export class DirectorySnapshotter implements Snapshotter {
  readonly name: string;
  readonly #driver: SnapshotDriver;
  readonly #parts: SnapshotterParts;
  readonly #db: Database;
  readonly #rows: SnapshotRows;
  readonly #directories: SnapshotDirectories;

  /** Makes the directory. */
  constructor(root: string, driver: SnapshotDriver, parts: SnapshotterParts) {
    this.name = driver.name;
    this.#driver = driver;
    this.#parts = parts;
    this.#db = parts.db;
    this.#rows = new SnapshotRows(parts.db, driver.name);
    const release = (directory: string) => parts.recordWriter.forget(join(directory, snapshotRecordName));
    this.#directories = new SnapshotDirectories(root, { ...parts, release });
    // A transaction that was cut short may have left the directory of a row that never was.
    this.#rows.skipIds(this.#directories.highestId());
    this.#tidyRecordFiles();
  }

  /** Absolute path of the directory with all snapshots. */
  get root(): string {
    return this.#directories.root;
  }

  get rebases(): boolean {
    return this.#driver.rebase !== undefined;
  }

  get capabilities(): readonly string[] {
    return this.#driver.capabilities;
  }

  prepare(ns: string, key: string, parent: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#create({ ns, kind: 'active', key, parent, labels: cleanLabels(options.labels), lease: options.lease });
  }

  view(ns: string, key: string, parent: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#create({ ns, kind: 'view', key, parent, labels: cleanLabels(options.labels), lease: options.lease });
  }

  async mounts(ns: string, key: string): Promise<Mount[]> {
    const row = this.#rows.require(ns, key);
    if (row.kind === 'committed') {
      throw new BerthError('failed_precondition', `snapshot "${key}" is committed: not active or view`);
    }
    return this.#driver.mounts(this.#filesOf(row));
  }

  async commit(ns: string, name: string, key: string, options: CommitSnapshotOptions = {}): Promise<void> {
    const labels = cleanLabels(options.labels);
    if (name === '') throw new BerthError('invalid_argument', 'a committed snapshot needs a name');
    const existing = this.#db.tx(() => {
      if (options.lease) this.#lease(ns, options.lease, name);
      if (this.#rows.find(ns, name)) return true;
      const row = this.#rows.require(ns, key);
      if (row.kind !== 'active') {
        throw new BerthError('failed_precondition', `snapshot "${key}" is not active: it is ${row.kind}`);
      }
      this.#rebase(ns, row, options);
      this.#rows.commit(row.id, name, labels, options.usage);
      this.#file(row.id, this.#rows.require(ns, name), ns);
      if (options.lease) this.#unlease(ns, options.lease, key);
      return false;
    });
    if (existing) throw alreadyExists('snapshot', name);
    const payload = { key, name, snapshotter: this.name };
    this.#parts.events.publishTyped(ns, '/snapshot/commit', 'containerd.events.SnapshotCommit', payload);
  }

  layers(ns: string, name: string): string[] {
    return this.#withAncestors(this.#rows.require(ns, name).id).map(filesOf);
  }

  async remove(ns: string, key: string, lease?: string): Promise<void> {
    const row = this.#db.tx(() => {
      const found = this.#rows.require(ns, key);
      if (this.#rows.hasChildren(found.id)) {
        throw new BerthError('failed_precondition', `cannot remove snapshot with child: "${key}"`);
      }
      this.#rows.delete(found.id);
      if (lease) this.#unlease(ns, lease, key);
      return found;
    });
    const payload = { key, snapshotter: this.name };
    this.#parts.events.publishTyped(ns, '/snapshot/remove', 'containerd.events.SnapshotRemove', payload);
    this.#directories.remove(row.id);
    this.#parts.onRelease();
  }

  stat(ns: string, key: string): SnapshotInfo {
    return infoOf(this.#rows.require(ns, key));
  }

  update(ns: string, key: string, labels: Labels, fieldpaths?: readonly string[]): SnapshotInfo {
    if (key === '') throw new BerthError('invalid_argument', 'the name of the snapshot to update is missing');
    return this.#db.tx(() => {
      const current = infoOf(this.#rows.require(ns, key));
      const updated = updateLabels(current.labels, labels, fieldpaths, `snapshot "${key}"`);
      this.#rows.relabel(ns, key, labelsToColumn(updated));
      const row = this.#rows.require(ns, key);
      this.#file(row.id, row, ns);
      return infoOf(row);
    });
  }

  *list(ns: string, filters?: readonly string[]): Generator<SnapshotInfo> {
    const matches = matcher(filters);
    for (const info of this.#rows.list(ns)) {
      const { kind, name, parent = '', labels } = info;
      if (matches({ fields: { kind, name, parent }, maps: { labels } })) yield info;
    }
  }

  async usage(ns: string, key: string): Promise<SnapshotUsage> {
    const row = this.#rows.require(ns, key);
    if (row.size !== null && row.inodes !== null) return { size: row.size, inodes: row.inodes };
    if (row.kind === 'view') return { size: 0, inodes: 0 };
    const usage = await diskUsage(filesOf(this.#directories.pathOf(row.id)));
    // A committed snapshot never changes again: remember. It may have been committed, or removed, meanwhile.
    if (row.kind === 'committed') this.#rows.remember(row.id, usage);
    return usage;
  }

  async cleanup(): Promise<void> {
    await this.#directories.sweep(this.#rows.ids());
  }

  /** The directory with what a snapshot itself holds. @throws not_found */
  filesPath(ns: string, key: string): string {
    return filesOf(this.#directories.pathOf(this.#rows.require(ns, key).id));
  }

  /**
   * Puts the files of the active snapshot `fresh` in the place of those of the committed `key`, in one step: mounts made
   * from here on show them. Those there are already go on with the old files, which `fresh` has now: it is kept until the
   * last snapshot on top of `key` that there is now is removed. Answers whether there is one; if not, nobody needs it.
   * @throws not_found
   */
  replaceFiles(ns: string, key: string, fresh: string): boolean {
    const users = this.#rows.usersOf(this.#rows.require(ns, key).id);
    const references = users.map((user, at) => [`${labelKeys.gcBackReferenceSnapshot}.${this.name}/${at}`, user]);
    if (references.length > 0) this.update(ns, fresh, Object.fromEntries(references));
    exchange(this.filesPath(ns, key), this.filesPath(ns, fresh));
    return users.length > 0;
  }

  /** Ends the deleting in the background; the next start goes on with what is left. */
  close(): void {
    this.#directories.close();
  }

  async #create(wanted: Wanted): Promise<Mount[]> {
    const { ns, kind, key, parent } = wanted;
    if (key === '') throw new BerthError('invalid_argument', 'a snapshot needs a key');
    const existing = this.#existing(wanted);
    if (existing) throw existing;
    using directory = this.#directories.make();
    await this.#fill(directory.path, wanted);
    this.#record(directory, wanted);
    if (kind === 'active') {
      const payload = { key, parent, snapshotter: this.name };
      this.#parts.events.publishTyped(ns, '/snapshot/prepare', 'containerd.events.SnapshotPrepare', payload);
    }
    return this.#driver.mounts(this.#filesOf(this.#rows.require(ns, key)));
  }

  /** The answer when the target or the key is there already, once it is in the lease. */
  #existing({ ns, key, labels, lease }: Wanted): BerthError | undefined {
    const target = labels[labelKeys.snapshotRef];
    const isTarget = target !== undefined && this.#rows.find(ns, target) !== undefined;
    if (!isTarget && !this.#rows.find(ns, key)) return undefined;
    if (lease) this.#lease(ns, lease, isTarget ? target : key);
    return isTarget ? alreadyExists('target snapshot', target) : alreadyExists('snapshot', key);
  }

  /** Makes the files of a snapshot that has no row yet. */
  async #fill(directory: string, { ns, kind, parent, labels }: Wanted): Promise<void> {
    const below = parent === '' ? [] : this.#withAncestors(this.#requireParent(ns, parent).id);
    try {
      mkdirSync(directory, { mode: 0o700 });
      await this.#driver.fill({ directory, kind, parents: below, labels: forDriver(labels) });
    } catch (error) {
      // Whoever removed the parent meanwhile has taken its files away.
      if (parent !== '') this.#requireParent(ns, parent);
      throw BerthError.from(error, `make snapshot directory ${directory}`);
    }
  }

  /** Makes the row and moves the files to their place. Things may have changed while they were made. */
  #record(directory: NewDirectory, wanted: Wanted): void {
    const { ns, kind, key, parent, labels, lease } = wanted;
    let placed: Disposable | undefined;
    try {
      const existing = this.#db.tx(() => {
        this.#parts.namespaces.ensure(ns);
        const taken = this.#existing(wanted);
        if (taken) return taken;
        if (lease) this.#lease(ns, lease, key);
        const parentRow = parent === '' ? undefined : this.#requireParent(ns, parent);
        const id = this.#rows.insert(ns, key, kind, parentRow?.id, labelsToColumn(labels));
        placed = directory.place(id);
        this.#file(id, this.#rows.require(ns, key), ns);
        return undefined;
      });
      if (existing) throw existing;
    } catch (error) {
      // An id that was rolled back is given again.
      placed?.[Symbol.dispose]();
      throw BerthError.from(error);
    }
  }

  /** Gives the snapshot its parent if it was made without. */
  #rebase(ns: string, { id, name, kind, parent_name, labels }: SnapshotRow, options: CommitSnapshotOptions): void {
    const { parent = '', keepsRoot = false } = options;
    if (parent === '' || parent === parent_name) return;
    if (parent_name !== null || this.#driver.rebase === undefined) {
      throw new BerthError('invalid_argument', `cannot change parent of active snapshot "${name}" on commit`);
    }
    const below = this.#requireParent(ns, parent).id;
    this.#rows.rebase(id, below);
    if (keepsRoot) return;
    const files = { directory: this.#directories.pathOf(id), kind, labels: forDriver(labelsFromColumn(labels)) };
    this.#driver.rebase({ ...files, parents: this.#withAncestors(below) });
  }

  #requireParent(ns: string, parent: string): SnapshotRow {
    const row = this.#rows.find(ns, parent);
    if (!row) throw new BerthError('not_found', `parent snapshot ${parent} does not exist`);
    if (row.kind !== 'committed') {
      throw new BerthError('invalid_argument', `parent "${parent}" is not committed snapshot: it is ${row.kind}`);
    }
    return row;
  }

  #filesOf({ id, kind, parent, labels }: SnapshotRow): SnapshotFiles {
    const parents = parent === null ? [] : this.#withAncestors(parent);
    return { directory: this.#directories.pathOf(id), kind, parents, labels: forDriver(labelsFromColumn(labels)) };
  }

  /** The directories of a committed snapshot and all below it. */
  #withAncestors(id: number): string[] {
    return this.#rows.chain(id).map((below) => this.#directories.pathOf(below));
  }

  /** A kill or a power cut may have kept some from being written. */
  #tidyRecordFiles(): void {
    for (const row of this.#rows.all()) {
      const path = join(this.#directories.pathOf(row.id), snapshotRecordName);
      if (!isUpToDate(path, timeFromColumn(row.updated_at))) this.#file(row.id, row, row.ns);
    }
  }

  /** Writes what the record says beside the files, for the day when the database is lost. */
  #file(id: number, row: SnapshotRow, ns: string): void {
    this.#parts.recordWriter.write(join(this.#directories.pathOf(id), snapshotRecordName), {
      ns,
      name: row.name,
      kind: row.kind,
      parent: row.parent_name,
      labels: row.labels,
      createdAt: row.created_at,
    });
  }

  #lease(ns: string, lease: string, key: string): void {
    this.#parts.leases.addResource(ns, lease, { type: `snapshots/${this.name}`, id: key });
  }

  /** Takes what is no more from the caller's own lease, as containerd does. */
  #unlease(ns: string, lease: string, key: string): void {
    this.#db.run(
      'DELETE FROM lease_resources WHERE ns = ? AND lease = ? AND type = ? AND resource = ?',
      ns,
      lease,
      `snapshots/${this.name}`,
      key,
    );
  }
}

/** Labels that containerd's metadata store hands on to snapshotters (core/snapshots, FilterInheritedLabels). */
function forDriver(labels: Labels): Labels {
  const handed = Object.entries(labels).filter(
    ([key]) => key === labelKeys.snapshotRef || key.startsWith(labelKeys.snapshotInherited),
  );
  return Object.fromEntries(handed);
}

function alreadyExists(what: string, name: string): BerthError {
  return new BerthError('already_exists', `${what} "${name}": already exists`);
}
