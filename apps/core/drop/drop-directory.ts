import { type FSWatcher, rmSync, watch, writeFileSync } from 'node:fs';
import { BerthError, messageOf } from '#common/errors.ts';
import type { LatePart } from '#common/grpc/health.ts';
import type { Logger } from '#common/log.ts';
import { makeDirectories } from '#common/make-directories.ts';
import { type ArchiveFile, archiveAt, archivesIn } from './archive-files.ts';
import type { DroppedImages } from './dropped-images.ts';

export interface DropDirectoryParts {
  /** Absolute path; made when missing. */
  readonly directory: string;
  readonly images: DroppedImages;
  /** Verifies, stores and unpacks an archive; answers the names of its images. */
  readonly importArchive: (path: string, signal: AbortSignal) => Promise<readonly string[]>;
  readonly log: Logger;
}

/** A file that was written to within this time may still be being copied. */
const settleMs = 1000;
/** Copying causes many changes at once. */
const gatherMs = 100;

/**
 * The directory for nodes without a registry: image archives that are put there are imported and pinned, at the start and
 * whenever one comes. An archive that was taken away has its images unpinned; they stay until somebody removes them.
 *
 * Images carry the identity of their archive as a label, so an archive is read once, however often the daemon starts or
 * the file is renamed, unless its images were removed. What is half written fails its verification and is read again
 * when it changes. Why an archive was refused is logged, and stands beside it in `<name>.error`.
 */
export class DropDirectory implements LatePart, AsyncDisposable {
  readonly #parts: DropDirectoryParts;
  readonly #stop = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  /** Identities of archives that can't be imported as they are. */
  readonly #refused = new Set<string>();
  #isReady = false;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #passing: Promise<void> = Promise.resolve();

  constructor(parts: DropDirectoryParts) {
    this.#parts = parts;
  }

  /** Whether all that lay there at the start has been imported or refused. */
  get isReady(): boolean {
    return this.#isReady;
  }

  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Begins to import and to watch. @throws when the directory can't be made or watched. */
  start(): void {
    const { directory, log } = this.#parts;
    try {
      makeDirectories(directory, 0o755);
      this.#watcher = watch(directory, { persistent: false }, () => this.#passIn(gatherMs));
    } catch (error) {
      throw BerthError.from(error, `watch the drop directory ${directory}`);
    }
    this.#watcher.on('error', (error) => log.error({ directory, err: error }, 'drop directory not watched any more'));
    this.#passIn(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new BerthError('unavailable', 'berthd is stopping'));
    this.#watcher?.close();
    clearTimeout(this.#timer);
    await this.#passing;
  }

  #passIn(ms: number): void {
    if (this.#stop.signal.aborted) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#passing = this.#passing.then(() => this.#pass());
    }, ms);
  }

  async #pass(): Promise<void> {
    const { directory, log } = this.#parts;
    if (this.#stop.signal.aborted) return;
    try {
      if (!(await this.#bringUpToDate())) return this.#passIn(settleMs);
    } catch (error) {
      log.error({ directory, err: error }, 'drop directory not read');
    }
    if (this.#stop.signal.aborted) return;
    this.#isReady = true;
    this.#ready.resolve();
  }

  /** Answers whether there is nothing more to do until something changes. */
  async #bringUpToDate(): Promise<boolean> {
    const { directory, images, log } = this.#parts;
    let isDone = true;
    for (const archive of archivesIn(directory)) {
      if (this.#refused.has(archive.identity) || images.whole().has(archive.identity)) continue;
      const isSettled = archive.ageMs >= settleMs || archive.ageMs < 0;
      if (!isSettled || !(await this.#import(archive))) isDone = false;
      if (this.#stop.signal.aborted) return false;
    }
    const whole = images.whole();
    const archives = archivesIn(directory);
    const there = new Set(archives.map(({ identity }) => identity));
    // A file that is being replaced keeps what the one before it brought until it has brought its own.
    const pending = new Set(archives.filter(({ identity }) => !whole.has(identity)).map(({ name }) => name));
    const unpinned = images.release((identity, name) => there.has(identity) || pending.has(name));
    if (unpinned.length > 0) log.info({ images: unpinned }, 'images unpinned: their archives are gone');
    return isDone;
  }

  /** Answers whether the file has been dealt with: not when it changed meanwhile. */
  async #import(archive: ArchiveFile): Promise<boolean> {
    const { directory, images, importArchive, log } = this.#parts;
    const isChanged = () => archiveAt(directory, archive.name)?.identity !== archive.identity;
    try {
      const names = await importArchive(archive.path, this.#stop.signal);
      if (isChanged()) return false;
      images.pin(archive, names);
      rmSync(errorFile(archive), { force: true });
      log.info({ archive: archive.path, images: names }, 'archive imported, its images pinned');
      return true;
    } catch (error) {
      if (this.#stop.signal.aborted || isChanged()) return false;
      this.#refused.add(archive.identity);
      log.error({ archive: archive.path, err: BerthError.from(error) }, 'archive not imported');
      this.#tell(archive, messageOf(error));
      return true;
    }
  }

  /** Says beside the archive what is wrong with it, where the directory can be written. */
  #tell(archive: ArchiveFile, message: string): void {
    try {
      writeFileSync(errorFile(archive), `${message}\n`);
    } catch (error) {
      this.#parts.log.debug({ archive: archive.path, err: error }, 'no file about the refused archive');
    }
  }
}

function errorFile({ path }: ArchiveFile): string {
  return `${path}.error`;
}
