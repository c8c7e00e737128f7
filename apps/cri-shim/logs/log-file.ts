import { constants, existsSync, fstatSync, ftruncateSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { BerthError } from '#common/errors.ts';
import { close, O, open, openat2, RESOLVE } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';

/** Names a file across renames. The birth time tells it from a later file that got the same inode. */
export type FileIdentity = string;

/** A CRI log file, open for appending. */
export class LogFile {
  readonly #fd: number;
  readonly identity: FileIdentity;

  private constructor(fd: number) {
    this.#fd = fd;
    this.identity = identityOf(fstatSync(fd, { bigint: true }));
  }

  /**
   * Opens `path`, making the file if need be. The kernel refuses a path that leaves `directory` or crosses a symbolic
   * link below it.
   */
  static open(directory: string, path: string): LogFile {
    return LogFile.#openBelow(directory, path, constants.O_CREAT);
  }

  /** Finds the file with this identity among the siblings of `path`: where rotation leaves a renamed log. */
  static find(directory: string, path: string, identity: FileIdentity): LogFile | undefined {
    const folder = dirname(path);
    if (!existsSync(folder)) return undefined;
    for (const name of readdirSync(folder)) {
      const stat = statSync(join(folder, name), { bigint: true, throwIfNoEntry: false });
      if (stat !== undefined && identityOf(stat) === identity)
        return LogFile.#openBelow(directory, join(folder, name), 0);
    }
    return undefined;
  }

  static #openBelow(directory: string, path: string, flags: number): LogFile {
    try {
      const fd = openBeneath(directory, relative(directory, path), flags);
      if (fstatSync(fd).isFile()) return new LogFile(fd);
      close(fd);
      throw new BerthError('invalid_argument', `log path ${path} is not a regular file`);
    } catch (cause) {
      if (hasErrno(cause, 'ENOENT', 'ENOTDIR')) {
        throw new BerthError('not_found', `the folder of log ${path} is missing`, { cause });
      }
      if (hasErrno(cause, 'EXDEV', 'ELOOP')) {
        throw new BerthError('invalid_argument', `log path ${path} leaves the pod's log directory ${directory}`, {
          cause,
        });
      }
      throw cause;
    }
  }

  get size(): number {
    return fstatSync(this.#fd).size;
  }

  /** One write(2): answers how many bytes it took, or throws. */
  append(bytes: Buffer): number {
    return writeSync(this.#fd, bytes);
  }

  read(buffer: Buffer, position: number): number {
    return readSync(this.#fd, buffer, 0, buffer.length, position);
  }

  truncate(size: number): void {
    ftruncateSync(this.#fd, size);
  }

  close(): void {
    close(this.#fd);
  }
}

function openBeneath(directory: string, path: string, flags: number): number {
  const root = open(directory, O.PATH | constants.O_DIRECTORY, 0);
  try {
    const how = flags | constants.O_RDWR | constants.O_APPEND | constants.O_NONBLOCK;
    const mode = flags === 0 ? 0 : 0o640;
    return openat2(root, path, how, mode, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS);
  } finally {
    close(root);
  }
}

function identityOf(stat: { dev: bigint; ino: bigint; birthtimeNs: bigint }): FileIdentity {
  return `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`;
}
