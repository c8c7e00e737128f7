import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '../random.ts';
import type { Change } from './recording.ts';

/** A file or directory: what a program sees of it now, and what the disk is sure to have. */
interface Inode {
  data: Buffer;
  syncedData: Buffer;
  /** undefined for what is no directory. */
  readonly entries: Map<string, Inode> | undefined;
  syncedEntries: Map<string, Inode>;
}

/**
 * What survives a power cut beside what was synced.
 *
 * `synced`: nothing at all, as POSIX permits. `names`: directories as they are, as journals of file systems keep them, and
 * of files what was synced. `some`: by chance, of each directory and file, what was synced or what is there now, a growing
 * file perhaps in part.
 */
export const cuts = ['synced', 'names', 'some'] as const;
export type Cut = (typeof cuts)[number];

const none = Buffer.alloc(0);

/** A file system below one directory that is told of changes and can be asked how a power cut now would leave it. */
export class DiskModel {
  readonly #root: Inode;
  /** The latest of each number: numbers are given again. */
  readonly #inodes = new Map<string, Inode>();
  /** What each sync under way will have made sure. */
  readonly #syncing = new Map<string, () => void>();

  /** `root` is the directory's inode number; it is empty. */
  constructor(root: string) {
    this.#root = directory();
    this.#inodes.set(root, this.#root);
  }

  apply(change: Change): void {
    switch (change.op) {
      case 'made':
        this.#made(change);
        return;
      case 'written': {
        const file = this.#inodes.get(change.inode);
        if (file) file.data = written(file.data, change.offset, change.data);
        return;
      }
      case 'truncated': {
        const file = this.#inodes.get(change.inode);
        if (file) file.data = resized(file.data, change.length);
        return;
      }
      case 'renamed': {
        const moved = this.#inodes.get(change.from.parent)?.entries?.get(change.from.name);
        if (!moved) return;
        this.#remove(change.from);
        this.#remove(change.to);
        this.#inodes.get(change.to.parent)?.entries?.set(change.to.name, moved);
        return;
      }
      case 'removed':
        this.#remove(change);
        return;
      case 'sync began': {
        const one = change.inode === undefined ? undefined : this.#inodes.get(change.inode);
        const concerned = change.inode === undefined ? this.#everything() : one ? [one] : [];
        // What changes while a sync runs may miss it.
        const states = concerned.map((inode) => [inode, inode.data, new Map(inode.entries)] as const);
        this.#syncing.set(change.number, () => {
          for (const [inode, data, entries] of states) {
            inode.syncedData = data;
            inode.syncedEntries = entries;
          }
        });
        return;
      }
      case 'sync ended':
        this.#syncing.get(change.number)?.();
        this.#syncing.delete(change.number);
        return;
      default:
    }
  }

  /** Makes the directory `to` as it would be found after a power cut now. */
  write(to: string, cut: Cut, random: Random): void {
    const place = (inode: Inode, path: string): void => {
      if (!inode.entries) {
        writeFileSync(path, dataAfter(inode, cut, random));
        return;
      }
      mkdirSync(path, { recursive: true });
      const current = cut === 'names' || (cut === 'some' && random.chance(0.5));
      for (const [name, entry] of current ? inode.entries : inode.syncedEntries) place(entry, join(path, name));
    };
    place(this.#root, to);
  }

  #made({ parent, name, inode: number, kind }: Extract<Change, { op: 'made' }>): void {
    const entries = this.#inodes.get(parent)?.entries;
    const known = this.#inodes.get(number);
    // Opened to be made, and found there.
    if (!entries || (known && entries.get(name) === known)) return;
    const inode = kind === 'd' ? directory() : file();
    this.#inodes.set(number, inode);
    entries.set(name, inode);
  }

  #remove({ parent, name }: { parent: string; name: string }): void {
    this.#inodes.get(parent)?.entries?.delete(name);
  }

  *#everything(inode = this.#root): Generator<Inode> {
    yield inode;
    for (const entry of inode.entries?.values() ?? []) yield* this.#everything(entry);
  }
}

function directory(): Inode {
  return { data: none, syncedData: none, entries: new Map(), syncedEntries: new Map() };
}

function file(): Inode {
  return { data: none, syncedData: none, entries: undefined, syncedEntries: new Map() };
}

function dataAfter({ data, syncedData }: Inode, cut: Cut, random: Random): Buffer {
  if (cut !== 'some') return syncedData;
  const chance = random.next();
  if (chance < 0.4) return syncedData;
  if (chance < 0.7 || data.length <= syncedData.length) return data;
  return data.subarray(0, syncedData.length + random.int(data.length - syncedData.length));
}

/** Always another buffer: the one that was synced stays as it is. */
function written(data: Buffer, offset: number, bytes: Buffer): Buffer {
  const result = Buffer.alloc(Math.max(data.length, offset + bytes.length));
  data.copy(result);
  bytes.copy(result, offset);
  return result;
}

function resized(data: Buffer, length: number): Buffer {
  const result = Buffer.alloc(length);
  data.copy(result);
  return result;
}
