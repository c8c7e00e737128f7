import type { Database } from '../metadata/database.ts';
import { labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { timeFromColumn, timeToColumn } from '../metadata/time-column.ts';
import { typedBytes } from '../metadata/typed-bytes.ts';
import type { Container } from './store.ts';

/** One row of the table `containers`. */
export interface ContainerRow {
  readonly ns: string;
  readonly id: string;
  readonly image: string;
  readonly runtime_name: string;
  readonly runtime_options_type: string | null;
  readonly runtime_options: Uint8Array | null;
  readonly spec_type: string | null;
  readonly spec: Uint8Array | null;
  readonly snapshotter: string;
  readonly snapshot_key: string;
  readonly sandbox: string;
  readonly labels: string;
  readonly created_at: number;
  readonly updated_at: number;
}

/** One row of the table `container_extensions`. */
export interface ExtensionRow {
  readonly id: string;
  readonly name: string;
  readonly type_url: string;
  readonly value: Uint8Array;
}

export function containerOf(row: ContainerRow, extensions: readonly ExtensionRow[]): Container {
  return {
    id: row.id,
    labels: labelsFromColumn(row.labels),
    image: row.image,
    runtime: {
      name: row.runtime_name,
      options: typedBytes(row.runtime_options_type, row.runtime_options),
    },
    spec: typedBytes(row.spec_type, row.spec),
    snapshotter: row.snapshotter,
    snapshotKey: row.snapshot_key,
    sandbox: row.sandbox,
    extensions: Object.fromEntries(
      extensions.map(({ name, type_url, value }) => [name, { typeUrl: type_url, value }] as const),
    ),
    createdAt: timeFromColumn(row.created_at),
    updatedAt: timeFromColumn(row.updated_at),
  };
}

/** Adds a container, extensions included; answers whether there was none of its id. To be called in a transaction. */
export function insertContainer(db: Database, ns: string, container: Container): boolean {
  const { runtime, spec } = container;
  const { changes } = db.run(
    `INSERT INTO containers (ns, id, image, runtime_name, runtime_options_type, runtime_options, spec_type, spec,
       snapshotter, snapshot_key, sandbox, labels, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ns,
    container.id,
    container.image,
    runtime.name,
    runtime.options?.typeUrl ?? null,
    runtime.options?.value ?? null,
    spec?.typeUrl ?? null,
    spec?.value ?? null,
    container.snapshotter,
    container.snapshotKey,
    container.sandbox,
    labelsToColumn(container.labels),
    timeToColumn(container.createdAt),
    timeToColumn(container.updatedAt),
  );
  if (changes === 0) return false;
  insertExtensions(db, ns, container);
  return true;
}

/** Adds a container's extensions; it has none in the database yet. To be called in a transaction. */
export function insertExtensions(db: Database, ns: string, { id, extensions }: Container): void {
  const sql = 'INSERT INTO container_extensions (ns, id, name, type_url, value) VALUES (?, ?, ?, ?, ?)';
  for (const [name, { typeUrl, value }] of Object.entries(extensions)) db.run(sql, ns, id, name, typeUrl, value);
}
