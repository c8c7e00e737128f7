import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { hasErrno } from '#common/node-error.ts';
import { readRecordFile, writeRecordFile } from './record-file.ts';

/** A record as its file has it. */
export interface FiledRecord {
  readonly ns: string;
  readonly id: string;
  readonly record: Readonly<Record<string, unknown>>;
}

/**
 * One file per record of a kind: `<directory>/<namespace>/<name>`. A file is written within the transaction that writes
 * the row and removed after the one that deletes it, so that a row has a file whenever the daemon is killed; a file
 * without a row is rubbish.
 */
export class RecordFiles {
  readonly #directory: string;
  readonly #nameOf: (id: string) => string;

  /** `nameOf` gives each id a name that is fit for a file and no other id has. */
  constructor(directory: string, nameOf: (id: string) => string) {
    this.#directory = directory;
    this.#nameOf = nameOf;
  }

  /** @throws by errno, naming the path. */
  write(ns: string, id: string, record: object): void {
    const path = this.#pathOf(ns, id);
    try {
      writeRecordFile(path, { id, ...record });
    } catch (error) {
      if (!hasErrno(error, 'ENOENT')) throw BerthError.from(error, `write ${path}`);
      mkdirSync(join(this.#directory, ns), { recursive: true, mode: 0o700 });
      writeRecordFile(path, { id, ...record });
    }
  }

  remove(ns: string, id: string): void {
    rmSync(this.#pathOf(ns, id), { force: true });
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

  /** Makes the files agree with the rows: some may have been left, or lost in a power cut. */
  tidy(rows: Iterable<{ readonly ns: string; readonly id: string; readonly record: () => object }>): void {
    const wanted = new Set<string>();
    for (const { ns, id, record } of rows) {
      const path = this.#pathOf(ns, id);
      wanted.add(path);
      if (!statSync(path, { throwIfNoEntry: false })?.size) this.write(ns, id, record());
    }
    for (const ns of namesIn(this.#directory)) {
      for (const name of namesIn(join(this.#directory, ns))) {
        const path = join(this.#directory, ns, name);
        if (!wanted.has(path)) rmSync(path, { force: true });
      }
    }
  }

  #pathOf(ns: string, id: string): string {
    return join(this.#directory, ns, this.#nameOf(id));
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
