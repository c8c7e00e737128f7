import { rm } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import type { Database } from '../metadata/database.ts';

/** What {@link Rubbish} works with. */
export interface RubbishParts {
  readonly db: Database;
  /** Resolves when nobody writes into the directory any more. */
  release(path: string): Promise<void>;
  onLeftOver(path: string, error: BerthError): void;
}

/** Deletes directories in the background, one after another, once the database's forgetting them is durable. */
export class Rubbish {
  readonly #parts: RubbishParts;
  readonly #pending = new Set<string>();
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(parts: RubbishParts) {
    this.#parts = parts;
  }

  add(path: string): void {
    if (this.#pending.has(path)) return;
    this.#pending.add(path);
    this.#working = this.#working.then(() => this.#delete(path));
  }

  /** Resolves when all that was added so far is deleted or reported. */
  drained(): Promise<void> {
    return this.#working;
  }

  /** Leaves the rest for later. */
  close(): void {
    this.#closed = true;
  }

  async #delete(path: string): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#parts.db.durable();
      await this.#parts.release(path);
      await rm(path, { recursive: true, force: true });
    } catch (error) {
      this.#parts.onLeftOver(path, BerthError.from(error, `delete ${path}`));
    } finally {
      this.#pending.delete(path);
    }
  }
}
