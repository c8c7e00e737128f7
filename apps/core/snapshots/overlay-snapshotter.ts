import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { type Labels, labelKeys } from '#common/labels.ts';
import { hasErrno } from '#common/node-error.ts';
import type { EventPublisher } from '../events/events.ts';
import type { LeaseStore } from '../leases/store.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsToColumn, updateLabels } from '../metadata/labels.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { diskUsage } from './disk-usage.ts';
import { overlayMounts } from './overlay-mounts.ts';
import { Rubbish } from './rubbish.ts';
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
  /** Told of what could not be deleted. */
  readonly onLeftOver: (path: string, error: BerthError) => void;
}

/**
 * Snapshots as directories for overlayfs: `<root>/<id>/fs` holds what the snapshot changes, `<root>/<id>/work` is the
 * kernel's. Ids are small numbers so that the options of a mount with many layers stay short.
 *
 * Kill-safety: directories are made inside the transaction that makes the row, and deleted after the one that deletes
 * it. A directory without a row is rubbish.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly name = 'overlayfs';
  /** Absolute path of the directory with all snapshots. */
  readonly root: string;
  readonly #parts: SnapshotterParts;
  readonly #db: Database;
  readonly #rows: SnapshotRows;
  readonly #rubbish: Rubbish;
  readonly #indexOff: boolean;

  /** Makes the directory. */
  constructor(root: string, parts: SnapshotterParts) {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    this.root = root;
    this.#parts = parts;
    this.#db = parts.db;
    this.#rows = new SnapshotRows(parts.db, this.name);
    this.#rubbish = new Rubbish(parts.db, parts.onLeftOver);
    // Kernels that index by default refuse a lower directory that was an upper one elsewhere: index=off, where known.
    this.#indexOff = existsSync('/sys/module/overlay/parameters/index');
  }

  prepare(ns: string, key: string, parent: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#create(ns, 'active', key, parent, options);
  }

  view(ns: string, key: string, parent: string, options: SnapshotOptions = {}): Promise<Mount[]> {
    return this.#create(ns, 'view', key, parent, options);
  }

  async mounts(ns: string, key: string): Promise<Mount[]> {
    const row = this.#rows.require(ns, key);
    if (row.kind === 'committed') {
      throw new BerthError(
        'failed_precondition',
        `snapshot "${key}" is committed: make a view or an active one on top`,
      );
    }
    return this.#mountsOf(row);
  }

  async commit(ns: string, name: string, key: string, options: CommitSnapshotOptions = {}): Promise<void> {
    const labels = cleanLabels(options.labels);
    if (name === '') throw new BerthError('invalid_argument', 'a committed snapshot needs a name');
    const existing = this.#db.tx(() => {
      if (options.lease) this.#lease(ns, options.lease, name);
      if (this.#rows.find(ns, name)) return true;
      const row = this.#rows.require(ns, key);
      if (row.kind !== 'active') {
        throw new BerthError(
          'failed_precondition',
          `snapshot "${key}" is ${row.kind}: only an active one is committed`,
        );
      }
      this.#rows.commit(row.id, name, labels, options.usage);
      this.#db.run(
        'DELETE FROM lease_resources WHERE ns = ? AND type = ? AND resource = ?',
        ns,
        `snapshots/${this.name}`,
        key,
      );
      return false;
    });
    if (existing) throw new BerthError('already_exists', `snapshot "${name}" already exists`);
    const payload = { key, name, snapshotter: this.name };
    this.#parts.events.publishTyped(ns, '/snapshot/commit', 'containerd.events.SnapshotCommit', payload);
  }

  async remove(ns: string, key: string): Promise<void> {
    const row = this.#db.tx(() => {
      const found = this.#rows.require(ns, key);
      if (this.#rows.hasChildren(found.id)) {
        throw new BerthError('failed_precondition', `cannot remove snapshot "${key}": others are based on it`);
      }
      this.#rows.delete(found.id);
      return found;
    });
    const payload = { key, snapshotter: this.name };
    this.#parts.events.publishTyped(ns, '/snapshot/remove', 'containerd.events.SnapshotRemove', payload);
    this.#rubbish.add(join(this.root, String(row.id)));
    this.#parts.onRelease();
  }

  stat(ns: string, key: string): SnapshotInfo {
    return infoOf(this.#rows.require(ns, key));
  }

  update(ns: string, key: string, labels: Labels, fieldpaths?: readonly string[]): SnapshotInfo {
    return this.#db.tx(() => {
      const current = infoOf(this.#rows.require(ns, key));
      const updated = updateLabels(current.labels, labels, fieldpaths, `snapshot "${key}"`);
      this.#rows.relabel(ns, key, labelsToColumn(updated));
      return infoOf(this.#rows.require(ns, key));
    });
  }

  list(ns: string, filters?: readonly string[]): SnapshotInfo[] {
    const matches = matcher(filters);
    return this.#rows
      .list(ns)
      .map(infoOf)
      .filter(({ kind, name, parent = '', labels }) => matches({ fields: { kind, name, parent }, maps: { labels } }));
  }

  async usage(ns: string, key: string): Promise<SnapshotUsage> {
    const row = this.#rows.require(ns, key);
    if (row.size !== null && row.inodes !== null) return { size: row.size, inodes: row.inodes };
    const usage = await diskUsage(this.#fs(row.id));
    // A committed snapshot never changes again: remember. It may have been committed, or removed, meanwhile.
    if (row.kind === 'committed') this.#rows.remember(row.id, usage);
    return usage;
  }

  async cleanup(): Promise<void> {
    this.#sweep();
    await this.#rubbish.drained();
  }

  /** Ends the deleting in the background; the next start goes on with what is left. */
  close(): void {
    this.#rubbish.close();
  }

  /** Deletes directories of snapshots whose rows are gone or were never committed, in the background. */
  #sweep(): void {
    const ids = this.#rows.ids();
    for (const name of readdirSync(this.root)) {
      if (!ids.has(Number(name))) this.#rubbish.add(join(this.root, name));
    }
  }

  async #create(
    ns: string,
    kind: Exclude<SnapshotKind, 'committed'>,
    key: string,
    parent: string,
    options: SnapshotOptions,
  ): Promise<Mount[]> {
    const labels = cleanLabels(options.labels);
    if (key === '') throw new BerthError('invalid_argument', 'a snapshot needs a key');
    const target = labels[labelKeys.snapshotRef];
    let made: string | undefined;
    let created: SnapshotRow | string;
    try {
      created = this.#db.tx(() => {
        this.#parts.namespaces.ensure(ns);
        const taken = target && this.#rows.find(ns, target) ? target : this.#rows.find(ns, key) && key;
        if (options.lease) this.#lease(ns, options.lease, taken || key);
        if (taken) return taken;
        const parentRow = parent === '' ? undefined : this.#requireParent(ns, parent);
        const id = this.#rows.insert(ns, key, kind, parentRow?.id, labelsToColumn(labels));
        made = join(this.root, String(id));
        this.#makeDirectories(made, kind, parentRow);
        return this.#rows.require(ns, key);
      });
    } catch (error) {
      if (made) rmSync(made, { recursive: true, force: true });
      throw BerthError.from(error);
    }
    if (typeof created === 'string') {
      const what = created === target ? 'target snapshot' : 'snapshot';
      throw new BerthError('already_exists', `${what} "${created}" already exists`);
    }
    if (kind === 'active') {
      const payload = { key, parent, snapshotter: this.name };
      this.#parts.events.publishTyped(ns, '/snapshot/prepare', 'containerd.events.SnapshotPrepare', payload);
    }
    return this.#mountsOf(created);
  }

  #requireParent(ns: string, parent: string): SnapshotRow {
    const row = this.#rows.find(ns, parent);
    if (!row) throw new BerthError('not_found', `parent snapshot "${parent}" does not exist`);
    if (row.kind !== 'committed') {
      throw new BerthError('invalid_argument', `parent snapshot "${parent}" is ${row.kind}, not committed`);
    }
    return row;
  }

  /** The root directory of a snapshot keeps owner and mode of the one below: overlayfs shows the topmost. */
  #makeDirectories(directory: string, kind: SnapshotKind, parent: SnapshotRow | undefined): void {
    try {
      makeAnew(directory);
      const fs = join(directory, 'fs');
      mkdirSync(fs);
      if (kind === 'active') mkdirSync(join(directory, 'work'), { mode: 0o711 });
      const below = parent && statSync(this.#fs(parent.id));
      chmodSync(fs, below ? below.mode & 0o7777 : 0o755);
      if (below && (below.uid !== 0 || below.gid !== 0)) chownSync(fs, below.uid, below.gid);
    } catch (error) {
      throw BerthError.from(error, `make snapshot directory ${directory}`);
    }
  }

  #mountsOf(row: SnapshotRow): Mount[] {
    const lower = this.#rows.ancestors(row.id).map((id) => this.#fs(id));
    const own = join(this.root, String(row.id));
    return overlayMounts({
      directory: own,
      writable: row.kind === 'active',
      lower,
      indexOff: this.#indexOff,
    });
  }

  #fs(id: number): string {
    return join(this.root, String(id), 'fs');
  }

  #lease(ns: string, lease: string, key: string): void {
    this.#parts.leases.addResource(ns, lease, {
      type: `snapshots/${this.name}`,
      id: key,
    });
  }
}

/** A transaction that was cut short may have left the directory of a row that never was, and its id is given again. */
function makeAnew(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
    rmSync(directory, { recursive: true });
    mkdirSync(directory, { mode: 0o700 });
  }
}
