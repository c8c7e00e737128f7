import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeLastingDirectory } from '#common/flush.ts';

const namePattern = /^(\d{8})\.db$/;

/** Copies of the database in one directory: `<number>.db`, the highest number being the newest. */
export class BackupFiles {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Paths, the newest first. */
  list(): string[] {
    return this.#numbers()
      .reverse()
      .map((number) => this.#pathOf(number));
  }

  /** Where the next copy goes. Makes the directory. */
  next(): string {
    makeLastingDirectory(this.directory, 0o700);
    return this.#pathOf((this.#numbers().at(-1) ?? 0) + 1);
  }

  /** Deletes all but the newest `keep`, and copies that were never finished. */
  prune(keep: number): void {
    for (const path of this.list().slice(keep)) rmSync(path, { force: true });
    for (const name of this.#names()) {
      if (!namePattern.test(name)) rmSync(join(this.directory, name), { force: true });
    }
  }

  #numbers(): number[] {
    return this.#names()
      .flatMap((name) => namePattern.exec(name)?.slice(1).map(Number) ?? [])
      .sort((a, b) => a - b);
  }

  #names(): string[] {
    return existsSync(this.directory) ? readdirSync(this.directory) : [];
  }

  #pathOf(number: number): string {
    return join(this.directory, `${String(number).padStart(8, '0')}.db`);
  }
}
