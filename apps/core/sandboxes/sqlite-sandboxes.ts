import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels } from '../metadata/labels.ts';
import type { RecordFiles } from '../metadata/record-files.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeFromColumn, timeNow } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { sandboxFileOf } from './sandbox-file.ts';
import { maskedSandbox } from './sandbox-mask.ts';
import { putSandbox, type SandboxExtensionRow, type SandboxRow, sandboxOf } from './sandbox-rows.ts';
import type { Sandbox, SandboxInput, SandboxStore } from './store.ts';

export interface SandboxStoreParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
  /** What the records say, for the day when the database is lost. */
  readonly records: RecordFiles;
}

export class SqliteSandboxStore implements SandboxStore {
  readonly #db: Database;
  readonly #namespaces: NamespaceStore;
  readonly #records: RecordFiles;

  constructor({ db, namespaces, records }: SandboxStoreParts) {
    this.#db = db;
    this.#namespaces = namespaces;
    this.#records = records;
  }

  get(ns: string, id: string): Sandbox {
    const row = this.#db.get<SandboxRow>('SELECT * FROM sandboxes WHERE ns = ? AND id = ?', ns, id);
    if (!row) throw notFound(ns, id);
    return recordOf(row, (each) => this.#sandboxOf(each), nameOf);
  }

  list(ns: string, filters?: readonly string[]): Sandbox[] {
    const matches = matcher(filters);
    const rows = this.#db.all<SandboxRow>('SELECT * FROM sandboxes WHERE ns = ? ORDER BY id', ns);
    const sandboxes = recordsOf(this.#db, rows, (row) => this.#sandboxOf(row), nameOf);
    return sandboxes.filter(({ id, labels }) => matches({ fields: { id }, maps: { labels } }));
  }

  create(ns: string, input: SandboxInput): Sandbox {
    const now = timeNow();
    const sandbox: Sandbox = { ...checked(input), createdAt: now, updatedAt: now };
    this.#db.tx(() => {
      this.#namespaces.ensure(ns);
      if (this.#db.get('SELECT 1 FROM sandboxes WHERE ns = ? AND id = ?', ns, sandbox.id)) {
        throw new BerthError('already_exists', `sandbox "${sandbox.id}" already exists`);
      }
      putSandbox(this.#db, ns, sandbox);
    });
    this.#records.write(ns, sandbox.id, sandboxFileOf(sandbox));
    return sandbox;
  }

  update(ns: string, input: SandboxInput, fieldpaths?: readonly string[]): Sandbox {
    const updated = this.#db.tx(() => {
      const current = this.get(ns, input.id);
      const masked = checked(maskedSandbox(current, input, fieldpaths));
      const sandbox: Sandbox = { ...masked, createdAt: current.createdAt, updatedAt: timeNow() };
      putSandbox(this.#db, ns, sandbox);
      return sandbox;
    });
    this.#records.write(ns, updated.id, sandboxFileOf(updated));
    return updated;
  }

  delete(ns: string, id: string): void {
    const { changes } = this.#db.run('DELETE FROM sandboxes WHERE ns = ? AND id = ?', ns, id);
    if (changes === 0) throw notFound(ns, id);
    this.#records.remove(ns, id);
  }

  /** For the start: makes the files agree with the records. */
  tidyRecordFiles(): void {
    const rows = this.#db.all<SandboxRow>('SELECT * FROM sandboxes');
    this.#records.tidy(
      rows.map((row) => ({
        ns: row.ns,
        id: row.id,
        updatedAt: timeFromColumn(row.updated_at),
        record: () => sandboxFileOf(this.#sandboxOf(row)),
      })),
    );
  }

  #sandboxOf(row: SandboxRow): Sandbox {
    const extensions = this.#db.all<SandboxExtensionRow>(
      'SELECT name, type_url, value FROM sandbox_extensions WHERE ns = ? AND id = ?',
      row.ns,
      row.id,
    );
    return sandboxOf(row, extensions);
  }
}

function checked(input: SandboxInput): SandboxInput {
  validateIdentifier(input.id, 'sandbox id');
  return { ...input, labels: cleanLabels(input.labels) };
}

function nameOf({ ns, id }: SandboxRow): string {
  return `sandbox "${id}" in namespace "${ns}"`;
}

function notFound(ns: string, id: string): BerthError {
  return new BerthError('not_found', `sandbox "${id}" in namespace "${ns}" not found`);
}
