import { labelsFromColumn } from '../metadata/labels.ts';
import { timeFromColumn } from '../metadata/time-column.ts';
import { typedBytes } from '../metadata/typed-bytes.ts';
import type { Sandbox } from './store.ts';

/** One row of the table `sandboxes`. */
export interface SandboxRow {
  readonly ns: string;
  readonly id: string;
  readonly sandboxer: string;
  readonly runtime_name: string;
  readonly runtime_options_type: string | null;
  readonly runtime_options: Uint8Array | null;
  readonly spec_type: string | null;
  readonly spec: Uint8Array | null;
  readonly labels: string;
  readonly created_at: number;
  readonly updated_at: number;
}

/** One row of the table `sandbox_extensions`. */
export interface SandboxExtensionRow {
  readonly name: string;
  readonly type_url: string;
  readonly value: Uint8Array;
}

export function sandboxOf(row: SandboxRow, extensions: readonly SandboxExtensionRow[]): Sandbox {
  return {
    id: row.id,
    sandboxer: row.sandboxer,
    runtime: {
      name: row.runtime_name,
      options: typedBytes(row.runtime_options_type, row.runtime_options),
    },
    spec: typedBytes(row.spec_type, row.spec),
    labels: labelsFromColumn(row.labels),
    extensions: Object.fromEntries(
      extensions.map(({ name, type_url, value }) => [name, { typeUrl: type_url, value }] as const),
    ),
    createdAt: timeFromColumn(row.created_at),
    updatedAt: timeFromColumn(row.updated_at),
  };
}
