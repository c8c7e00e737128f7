import type { Database } from '../metadata/database.ts';
import { labelsFromColumn, labelsToColumn } from '../metadata/labels.ts';
import { timeFromColumn, timeToColumn } from '../metadata/time-column.ts';
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

/** Adds a sandbox, extensions included, in place of one of its id. To be called in a transaction. */
export function putSandbox(db: Database, ns: string, sandbox: Sandbox): void {
  const { id, sandboxer, runtime, spec, labels, extensions, createdAt, updatedAt } = sandbox;
  db.run(
    `INSERT OR REPLACE INTO sandboxes (ns, id, sandboxer, runtime_name, runtime_options_type, runtime_options, spec_type, spec,
       labels, created_at, updated_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ns,
    id,
    sandboxer,
    runtime.name,
    runtime.options?.typeUrl ?? null,
    runtime.options?.value ?? null,
    spec?.typeUrl ?? null,
    spec?.value ?? null,
    labelsToColumn(labels),
    timeToColumn(createdAt),
    timeToColumn(updatedAt),
  );
  for (const [name, { typeUrl, value }] of Object.entries(extensions)) {
    db.run(
      'INSERT INTO sandbox_extensions (ns, id, name, type_url, value) VALUES (?, ?, ?, ?, ?)',
      ns,
      id,
      name,
      typeUrl,
      value,
    );
  }
}
