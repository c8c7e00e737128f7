import { close, readSmall } from '#common/native/index.ts';

/** Files that are kept open at most: those of a node's five hundred containers, and a fifth of what a daemon may open. */
const MOST_FILES = 4096;
/** Clients look every ten seconds or so: what nobody has asked for in this time has ended, or its client has. */
const IDLE_MS = 60_000;

interface Kept {
  readonly names: readonly string[];
  readonly fds: Int32Array;
  isWanted: boolean;
}

/**
 * Files of cgroups, kept open from one look to the next: to open one takes the kernel three times as long as to read it.
 * An open file doesn't keep its cgroup from being removed; it can't be read any more from then on.
 */
export class CgroupFiles {
  readonly #most: number;
  readonly #idleMs: number;
  readonly #kept = new Map<string, Kept>();
  #files = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ most = MOST_FILES, idleMs = IDLE_MS } = {}) {
    this.#most = most;
    this.#idleMs = idleMs;
  }

  /** As `readSmall`; the files of one folder are mostly the same ones. */
  read(folder: string, names: readonly string[]): (string | undefined)[] {
    const kept = this.#kept.get(folder) ?? this.#keep(folder, names);
    if (kept?.names !== names) return readSmall(folder, names);
    kept.isWanted = true;
    const texts = readSmall(folder, names, kept.fds);
    if (texts.every((text) => text === undefined)) this.#forget(folder, kept);
    return texts;
  }

  /** undefined when there is no room for more. */
  #keep(folder: string, names: readonly string[]): Kept | undefined {
    if (this.#files + names.length > this.#most) return undefined;
    const kept: Kept = { names, fds: new Int32Array(names.length).fill(-1), isWanted: true };
    this.#kept.set(folder, kept);
    this.#files += names.length;
    this.#timer ??= setInterval(() => this.#closeUnwanted(), this.#idleMs).unref();
    return kept;
  }

  #closeUnwanted(): void {
    for (const [folder, kept] of this.#kept) {
      if (!kept.isWanted) this.#forget(folder, kept);
      kept.isWanted = false;
    }
  }

  #forget(folder: string, { names, fds }: Kept): void {
    for (const fd of fds) if (fd >= 0) close(fd);
    this.#kept.delete(folder);
    this.#files -= names.length;
    if (this.#kept.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
