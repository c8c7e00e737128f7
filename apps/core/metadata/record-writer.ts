import { rename, rm, writeFile } from 'node:fs/promises';
import { hasErrno } from '#common/node-error.ts';

/** Changes of one moment are written together, and of one file once. */
const pauseMs = 100;

/**
 * Writes what records say into files beside what they are about, behind the daemon's back: should the database be lost, the
 * records are made of them again. The database is the truth, so nothing waits for these files. A start brings those up to
 * date that a kill has left behind.
 */
export class RecordWriter {
  /** By path; undefined for one that is to go. */
  readonly #pending = new Map<string, object | undefined>();
  readonly #onError: (path: string, error: unknown) => void;
  #underWay: { readonly path: string; readonly done: Promise<void> } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();

  constructor(onError: (path: string, error: unknown) => void) {
    this.#onError = onError;
  }

  /** `record` is read when it is written, which is later. */
  write(path: string, record: object): void {
    this.#queue(path, record);
  }

  remove(path: string): void {
    this.#queue(path, undefined);
  }

  /** For a directory that is about to be deleted: resolves when nothing is written to `path` any more, nor will be. */
  async forget(path: string): Promise<void> {
    this.#pending.delete(path);
    if (this.#underWay?.path === path) await this.#underWay.done;
  }

  /** Resolves when all that was asked for so far is done. */
  drain(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#working = this.#working.then(() => this.#work());
    return this.#working;
  }

  #queue(path: string, record: object | undefined): void {
    this.#pending.set(path, record);
    this.#timer ??= setTimeout(() => void this.drain(), pauseMs).unref();
  }

  async #work(): Promise<void> {
    for (const [path, record] of this.#pending) {
      this.#pending.delete(path);
      const done = record === undefined ? rm(path, { force: true }) : put(path, record);
      this.#underWay = { path, done: done.catch((error: unknown) => this.#onError(path, error)) };
      await this.#underWay.done;
      this.#underWay = undefined;
    }
  }
}

async function put(path: string, record: object): Promise<void> {
  const unfinished = `${path}.tmp`;
  try {
    await writeFile(unfinished, JSON.stringify(record), { mode: 0o600 });
    await rename(unfinished, path);
  } catch (error) {
    // What the record is about was deleted meanwhile, with its directory.
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}
