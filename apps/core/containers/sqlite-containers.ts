import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import type { EventPublisher } from '../events/events.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsToColumn } from '../metadata/labels.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { maskedContainer } from './container-mask.ts';
import {
  type ContainerRow,
  containerOf,
  type ExtensionRow,
  insertContainer,
  insertExtensions,
} from './container-rows.ts';
import type { Container, ContainerInput, ContainerStore } from './store.ts';

/** As many records as a list holds in memory at a time: some hundred kilobytes of specs. */
const rowsAtOnce = 128;
/** More than a node runs, of some KiB each. Of those beyond, each is read anew whenever it is asked for. */
const MAX_KNOWN = 1024;

export interface ContainerStoreParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  readonly events: EventPublisher;
  /** Called when a snapshot lost its container: time to collect. */
  readonly onRelease: () => void;
}

/**
 * Containers are read over and over, by clients that list them, and seldom change: what was read is kept until it does.
 * Nobody else writes to the table while the daemon serves.
 */
export class SqliteContainerStore implements ContainerStore {
  readonly #db: Database;
  /** By namespace and id, NUL between them. */
  readonly #known = new Map<string, Container>();
  readonly #parts: ContainerStoreParts;
  #updated: (ns: string, container: Container) => void = () => {};

  constructor(parts: ContainerStoreParts) {
    this.#db = parts.db;
    this.#parts = parts;
  }

  get(ns: string, id: string): Container {
    const known = this.#known.get(keyOf(ns, id));
    if (known !== undefined) return known;
    const row = this.#db.get<ContainerRow>('SELECT * FROM containers WHERE ns = ? AND id = ?', ns, id);
    if (!row) throw new BerthError('not_found', `container "${id}" in namespace "${ns}" not found`);
    const extensions = this.#db.all<ExtensionRow>(
      'SELECT id, name, type_url, value FROM container_extensions WHERE ns = ? AND id = ?',
      ns,
      id,
    );
    return this.#keep(
      ns,
      recordOf(row, (each) => containerOf(each, extensions), nameOf),
    );
  }

  list(ns: string, filters?: readonly string[]): Container[] {
    return [...this.each(ns, filters)];
  }

  *each(ns: string, filters?: readonly string[]): Generator<Container> {
    const matches = matcher(filters);
    let last = '';
    let ids: readonly { readonly id: string }[];
    do {
      ids = this.#db.all('SELECT id FROM containers WHERE ns = ? AND id > ? ORDER BY id LIMIT ?', ns, last, rowsAtOnce);
      const first = ids[0]?.id ?? '';
      last = ids.at(-1)?.id ?? '';
      const known = ids.map(({ id }) => this.#known.get(keyOf(ns, id)));
      const containers = known.every((each) => each !== undefined) ? known : this.#between(ns, first, last);
      for (const container of containers) {
        const { id, image, runtime, labels } = container;
        const fields = { id, image: image || undefined, 'runtime.name': runtime.name };
        if (matches({ fields, maps: { labels } })) yield container;
      }
    } while (ids.length === rowsAtOnce);
  }

  keeps(ns: string, container: Container): boolean {
    return this.#known.get(keyOf(ns, container.id)) === container;
  }

  create(ns: string, input: ContainerInput): Container {
    const now = timeNow();
    const container: Container = {
      ...checked(input),
      createdAt: now,
      updatedAt: now,
    };
    this.#db.tx(() => {
      this.#parts.namespaces.ensure(ns);
      if (insertContainer(this.#db, ns, container)) return;
      throw new BerthError('already_exists', `container "${container.id}" already exists`);
    });
    const { id, image, runtime } = container;
    const options = runtime.options && {
      type_url: runtime.options.typeUrl,
      value: Buffer.from(runtime.options.value),
    };
    this.#parts.events.publishTyped(ns, '/containers/create', 'containerd.events.ContainerCreate', {
      id,
      image,
      runtime: { name: runtime.name, options: options ?? null },
    });
    return container;
  }

  update(ns: string, input: ContainerInput, fieldpaths?: readonly string[]): Container {
    if (input.id === '') throw new BerthError('invalid_argument', 'container id is required for update');
    const updated = this.#db.tx(() => {
      const current = this.get(ns, input.id);
      const masked = checked(maskedContainer(current, input, fieldpaths));
      const container: Container = {
        ...masked,
        createdAt: current.createdAt,
        updatedAt: timeNow(),
      };
      this.#db.run(
        `UPDATE containers SET image = ?, spec_type = ?, spec = ?, snapshot_key = ?, labels = ?,
           updated_at = ? WHERE ns = ? AND id = ?`,
        container.image,
        container.spec?.typeUrl ?? null,
        container.spec?.value ?? null,
        container.snapshotKey,
        labelsToColumn(container.labels),
        timeToColumn(container.updatedAt),
        ns,
        container.id,
      );
      this.#db.run('DELETE FROM container_extensions WHERE ns = ? AND id = ?', ns, container.id);
      insertExtensions(this.#db, ns, container);
      return container;
    });
    this.#known.delete(keyOf(ns, updated.id));
    this.#updated(ns, updated);
    const { id, image, labels, snapshotKey } = updated;
    this.#parts.events.publishTyped(ns, '/containers/update', 'containerd.events.ContainerUpdate', {
      id,
      image,
      labels,
      snapshotKey,
    });
    return updated;
  }

  onUpdate(listener: (ns: string, container: Container) => void): void {
    this.#updated = listener;
  }

  delete(ns: string, id: string): void {
    const { changes } = this.#db.run('DELETE FROM containers WHERE ns = ? AND id = ?', ns, id);
    if (changes === 0) throw new BerthError('not_found', `container "${id}" in namespace "${ns}" not found`);
    this.#known.delete(keyOf(ns, id));
    this.#parts.events.publishTyped(ns, '/containers/delete', 'containerd.events.ContainerDelete', { id });
    this.#parts.onRelease();
  }

  /** The containers from `first` to `last`, both included. */
  #between(ns: string, first: string, last: string): Container[] {
    const rows = this.#db.all<ContainerRow>(
      'SELECT * FROM containers WHERE ns = ? AND id BETWEEN ? AND ? ORDER BY id',
      ns,
      first,
      last,
    );
    const extensions = this.#extensionsOf(ns, first, last);
    const decode = (row: ContainerRow) => containerOf(row, extensions.get(row.id) ?? []);
    return recordsOf(this.#db, rows, decode, nameOf).map((container) => this.#keep(ns, container));
  }

  /** What a transaction reads may be taken back with it. */
  #keep(ns: string, container: Container): Container {
    if (this.#known.size < MAX_KNOWN && !this.#db.inTransaction) this.#known.set(keyOf(ns, container.id), container);
    return container;
  }

  /** Those of the containers from `first` to `last`, by container. */
  #extensionsOf(ns: string, first: string, last: string): Map<string, ExtensionRow[]> {
    const rows = this.#db.all<ExtensionRow>(
      'SELECT id, name, type_url, value FROM container_extensions WHERE ns = ? AND id BETWEEN ? AND ?',
      ns,
      first,
      last,
    );
    return Map.groupBy(rows, ({ id }) => id);
  }
}

function checked(input: ContainerInput): ContainerInput {
  validateIdentifier(input.id, 'container id');
  if ('' in input.extensions) throw invalid(input.id, 'extension names must not be empty');
  if (input.runtime.name === '') throw invalid(input.id, 'runtime name must be set');
  if (!input.spec) throw invalid(input.id, 'spec must be set');
  if (input.snapshotKey !== '' && input.snapshotter === '') {
    throw invalid(input.id, 'snapshotter must be set when there is a snapshot key');
  }
  return { ...input, labels: cleanLabels(input.labels) };
}

function keyOf(ns: string, id: string): string {
  return `${ns}\0${id}`;
}

function nameOf({ ns, id }: ContainerRow): string {
  return `container "${id}" in namespace "${ns}"`;
}

function invalid(id: string, message: string): BerthError {
  return new BerthError('invalid_argument', `container "${id}": ${message}`);
}
