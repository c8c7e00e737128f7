import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { Rubbish, type RubbishParts } from './rubbish.ts';

/** A directory that is about to become a snapshot. Disposing it without {@link place} throws it away. */
export interface NewDirectory extends Disposable {
  readonly path: string;
  /** Gives it its final name; the answer takes that back. */
  place(id: number): Disposable;
}

/**
 * The directories of a snapshotter, `<root>/<id>`; what is being made is `<root>/new-…`. Any other is rubbish, which is
 * deleted in the background.
 */
export class SnapshotDirectories {
  readonly root: string;
  readonly #rubbish: Rubbish;
  /** Names of those that are being made. */
  readonly #new = new Set<string>();

  /** Makes `root`. */
  constructor(root: string, parts: RubbishParts) {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    this.root = root;
    this.#rubbish = new Rubbish(parts);
  }

  /** The highest id that a directory has, 0 without any. */
  highestId(): number {
    return Math.max(0, ...readdirSync(this.root).map(Number).filter(Number.isSafeInteger));
  }

  pathOf(id: number): string {
    return join(this.root, String(id));
  }

  make(): NewDirectory {
    const name = `new-${randomBytes(6).toString('hex')}`;
    const path = join(this.root, name);
    this.#new.add(name);
    let placed = false;
    return {
      path,
      place: (id) => {
        renameSync(path, this.pathOf(id));
        placed = true;
        const undo = (): void => {
          renameSync(this.pathOf(id), path);
          placed = false;
        };
        return { [Symbol.dispose]: undo };
      },
      [Symbol.dispose]: () => {
        this.#new.delete(name);
        if (!placed) this.#rubbish.add(path);
      },
    };
  }

  /** Deletes the directory of a snapshot once the database's forgetting it is durable. */
  remove(id: number): void {
    this.#rubbish.add(this.pathOf(id));
  }

  /** Deletes whatever is none of `ids` and not in the making; resolves when all rubbish is gone or reported. */
  async sweep(ids: ReadonlySet<number>): Promise<void> {
    for (const name of readdirSync(this.root)) {
      if (!ids.has(Number(name)) && !this.#new.has(name)) this.#rubbish.add(join(this.root, name));
    }
    await this.#rubbish.drained();
  }

  /** Leaves the rest of the rubbish for later. */
  close(): void {
    this.#rubbish.close();
  }
}
