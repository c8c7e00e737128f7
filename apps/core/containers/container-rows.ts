import { labelsFromColumn } from '../metadata/labels.ts';
import { timeFromColumn } from '../metadata/time-column.ts';
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
