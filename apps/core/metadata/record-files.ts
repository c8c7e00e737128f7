import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasErrno } from '#common/node-error.ts';
import { readRecordFile } from './record-file.ts';
import type { RecordWriter } from './record-writer.ts';

/** A record as its file has it. */
export interface FiledRecord {
  readonly ns: string;
  readonly id: string;
  readonly record: Readonly<Record<string, unknown>>;
}

/** A row, with what its file is to say. */
export interface FileableRow {
  readonly ns: string;
  readonly id: string;
  readonly updatedAt: Temporal.Instant;
  readonly record: () => object;
}

/** One file per record of a kind: `<directory>/<namespace>/<name>`. */
export class RecordFiles {
  readonly #directory: string;
  readonly #nameOf: (id: string) => string;
  readonly #writer: RecordWriter | undefined;
  /** Namespaces that have a directory. */
  readonly #made = new Set<string>();

  /**
   * `nameOf` gives each id a name that is fit for a file and no other id has.
   * @param writer undefined for reading only
   */
  constructor(directory: string, nameOf: (id: string) => string, writer?: RecordWriter) {
    this.#directory = directory;
    this.#nameOf = nameOf;
    this.#writer = writer;
  }

  write(ns: string, id: string, record: object): void {
    if (!this.#made.has(ns)) mkdirSync(join(this.#directory, ns), { recursive: true, mode: 0o700 });
    this.#made.add(ns);
    this.#writer?.write(this.#pathOf(ns, id), { id, ...record });
  }

  remove(ns: string, id: string): void {
    this.#writer?.remove(this.#pathOf(ns, id));
  }

  /** All that can be read. */
  *all(): Generator<FiledRecord> {
    for (const ns of namesIn(this.#directory)) {
      for (const name of namesIn(join(this.#directory, ns))) {
        const record = readRecordFile(join(this.#directory, ns, name));
        if (typeof record?.id === 'string') yield { ns, id: record.id, record };
      }
    }
  }

  /**
   * Makes the files agree with the rows: a kill or a power cut may have kept some from being written, or removed. The file
   * of a row that makes no record is left as it is; whoever asks for the record hears of the damage.
   */
  tidy(rows: Iterable<FileableRow>): void {
    const wanted = new Set<string>();
    for (const { ns, id, updatedAt, record } of rows) {
      const path = this.#pathOf(ns, id);
      wanted.add(path);
      if (isUpToDate(path, updatedAt)) continue;
      const current = unlessDamaged(record);
      if (current !== undefined) this.write(ns, id, current);
    }
    for (const ns of namesIn(this.#directory)) {
      for (const name of namesIn(join(this.#directory, ns))) {
        const path = join(this.#directory, ns, name);
        if (!wanted.has(path)) this.#writer?.remove(path);
      }
    }
  }

  #pathOf(ns: string, id: string): string {
    return join(this.#directory, ns, this.#nameOf(id));
  }
}

/** Whether a record's file was written after the record. */
export function isUpToDate(path: string, updatedAt: Temporal.Instant): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.size > 0 && stat.mtimeMs >= updatedAt.epochMilliseconds;
}

function unlessDamaged(record: () => object): object | undefined {
  try {
    return record();
  } catch {
    return undefined;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
