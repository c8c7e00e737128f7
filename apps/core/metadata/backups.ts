import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { BerthError } from '#common/errors.ts';
import type { Logger } from '#common/log.ts';
import type { BackupFiles } from './backup-files.ts';
import type { BackupJob, BackupReport } from './backup-worker.ts';
import type { Database } from './database.ts';

export interface BackupOptions {
  readonly db: Database;
  readonly files: BackupFiles;
  /** How many copies stay; 0 for making none. */
  readonly keep: number;
  /** The oldest change that is in no copy waits no longer than this, in milliseconds. */
  readonly intervalMs: number;
  /** So many commits since the last copy ask for the next one at once. */
  readonly changes: number;
  readonly log: Logger;
}

/** Neither the daemon's start nor a burst of changes is the time for copying. */
const restMs = 10_000;

/**
 * Keeps copies of the database: made in a thread of their own, after so many changes or so much time, and some time after
 * the start when the last daemon left changes that no copy has. A daemon that nobody asks for anything makes none.
 */
export class Backups implements AsyncDisposable {
  readonly #options: BackupOptions;
  #commits = 0;
  #timer: { readonly at: number; readonly handle: NodeJS.Timeout } | undefined;
  #running: Promise<void> | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: BackupOptions) {
    this.#options = options;
    if (options.keep === 0) return;
    options.db.onCommit(() => this.#committed());
    if (this.#isBehind()) this.#schedule(performance.now() + restMs);
  }

  /** Makes a copy now, or waits for the one that is being made. @throws data_loss when the database is damaged */
  make(): Promise<void> {
    this.#running ??= this.#make().finally(() => {
      this.#running = undefined;
      this.#lastAt = performance.now();
    });
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer?.handle);
    await this.#running?.catch(() => {});
  }

  #committed(): void {
    this.#commits++;
    const { intervalMs, changes } = this.#options;
    if (this.#commits === 1) this.#schedule(performance.now() + intervalMs);
    else if (this.#commits === changes) this.#schedule(Math.max(performance.now(), this.#lastAt + restMs));
  }

  #schedule(at: number): void {
    if (this.#closed || (this.#timer !== undefined && this.#timer.at <= at)) return;
    clearTimeout(this.#timer?.handle);
    const handle = setTimeout(() => void this.#onTimer(), Math.max(0, at - performance.now()));
    handle.unref();
    this.#timer = { at, handle };
  }

  async #onTimer(): Promise<void> {
    this.#timer = undefined;
    try {
      await this.make();
    } catch (error) {
      this.#options.log.error({ err: error }, 'no backup of the metadata was made');
      this.#schedule(performance.now() + this.#options.intervalMs);
    }
  }

  async #make(): Promise<void> {
    const { db, files, keep, log } = this.#options;
    const startedAt = performance.now();
    const target = files.next();
    const commits = this.#commits;
    const { damage, error } = await copyInThread({ source: db.path, target });
    if (damage !== undefined) {
      const remedy = 'restart berthd to have it restored';
      throw new BerthError('data_loss', `database ${db.path} is damaged (${damage}): ${remedy}`);
    }
    if (error !== undefined) throw new BerthError('internal', `copy ${db.path} to ${target}: ${error}`);
    files.prune(keep);
    this.#commits -= commits;
    if (this.#commits > 0) this.#schedule(performance.now() + this.#options.intervalMs);
    log.info({ path: target, ms: Math.round(performance.now() - startedAt) }, 'metadata backed up');
  }

  /** Whether there are changes that the newest copy lacks, as far as times of files tell. */
  #isBehind(): boolean {
    const [newest] = this.#options.files.list();
    const changed = Math.max(...[this.#options.db.path, `${this.#options.db.path}-wal`].map(mtimeOf));
    return newest === undefined || mtimeOf(newest) < changed;
  }
}

function copyInThread(job: BackupJob): Promise<BackupReport> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./backup-worker.ts', import.meta.url), { workerData: job });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new BerthError('internal', 'the thread that copies the database ended early')));
  });
}

function mtimeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
