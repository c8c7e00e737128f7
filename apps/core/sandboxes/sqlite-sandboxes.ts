import { BerthError } from '#common/errors.ts';
import { validateIdentifier } from '#common/identifiers.ts';
import type { Database } from '../metadata/database.ts';
import { matcher } from '../metadata/filtering.ts';
import { cleanLabels, labelsToColumn } from '../metadata/labels.ts';
import { recordOf, recordsOf } from '../metadata/records.ts';
import { timeNow, timeToColumn } from '../metadata/time-column.ts';
import type { NamespaceStore } from '../namespaces/store.ts';
import { maskedSandbox } from './sandbox-mask.ts';
import { type SandboxExtensionRow, type SandboxRow, sandboxOf } from './sandbox-rows.ts';
import type { Sandbox, SandboxInput, SandboxStore } from './store.ts';

export interface SandboxStoreParts {
  readonly db: Database;
  readonly namespaces: NamespaceStore;
}

export class SqliteSandboxStore implements SandboxStore {
  readonly #db: Database;
  readonly #namespaces: NamespaceStore;

  constructor({ db, namespaces }: SandboxStoreParts) {
    this.#db = db;
    this.#namespaces = namespaces;
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
      this.#write(ns, sandbox);
    });
    return sandbox;
  }

  update(ns: string, input: SandboxInput, fieldpaths?: readonly string[]): Sandbox {
    return this.#db.tx(() => {
      const current = this.get(ns, input.id);
      const masked = checked(maskedSandbox(current, input, fieldpaths));
      const sandbox: Sandbox = { ...masked, createdAt: current.createdAt, updatedAt: timeNow() };
      this.#db.run('DELETE FROM sandboxes WHERE ns = ? AND id = ?', ns, sandbox.id);
      this.#write(ns, sandbox);
      return sandbox;
    });
  }

  delete(ns: string, id: string): void {
    const { changes } = this.#db.run('DELETE FROM sandboxes WHERE ns = ? AND id = ?', ns, id);
    if (changes === 0) throw notFound(ns, id);
  }

  #sandboxOf(row: SandboxRow): Sandbox {
    const extensions = this.#db.all<SandboxExtensionRow>(
      'SELECT name, type_url, value FROM sandbox_extensions WHERE ns = ? AND id = ?',
      row.ns,
      row.id,
    );
    return sandboxOf(row, extensions);
  }

  #write(ns: string, sandbox: Sandbox): void {
    const { id, sandboxer, runtime, spec, labels, extensions, createdAt, updatedAt } = sandbox;
    this.#db.run(
      `INSERT INTO sandboxes (ns, id, sandboxer, runtime_name, runtime_options_type, runtime_options, spec_type, spec,
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
      this.#db.run(
        'INSERT INTO sandbox_extensions (ns, id, name, type_url, value) VALUES (?, ?, ?, ?, ?)',
        ns,
        id,
        name,
        typeUrl,
        value,
      );
    }
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
