import { rm } from 'node:fs/promises';
import { BerthError } from '#common/errors.ts';
import type { Database } from '../metadata/database.ts';

/** Deletes directories in the background, one after another, once the database's forgetting them is durable. */
export class Rubbish {
  readonly #db: Database;
  readonly #onLeftOver: (path: string, error: BerthError) => void;
  readonly #pending = new Set<string>();
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(db: Database, onLeftOver: (path: string, error: BerthError) => void) {
    this.#db = db;
    this.#onLeftOver = onLeftOver;
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
      await this.#db.durable();
      await rm(path, { recursive: true, force: true });
    } catch (error) {
      this.#onLeftOver(path, BerthError.from(error, `delete ${path}`));
    } finally {
      this.#pending.delete(path);
    }
  }
}
