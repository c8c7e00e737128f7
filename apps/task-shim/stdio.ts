import { BerthError } from '#common/errors.ts';
import { type FileKind, folderOf, kindOf, makeFolders } from '#common/native/files.ts';
import { close, fchown, O, open, setNonblock } from '#common/native/index.ts';
import { hasErrno } from '#common/node-error.ts';
import type { LoggingProgram } from './logging-program.ts';

/** Of whom a process's ends of FIFOs and pipes are, so that it can open /dev/stdout again; root's without a user namespace. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Where a process's stdio goes, as Create and Exec name it. Empty: /dev/null. */
export interface StdioPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/**
 * The stdio of a process without a terminal: the client's FIFOs themselves, nothing is copied.
 *
 * - The process gets the write end of stdout and stderr. The shim holds a read end that it never reads, the keeper:
 *   no SIGPIPE while the client restarts, and data that is unread when the process ends stays until Delete. As the
 *   shim holds no write end, a reader sees the end of file once the last process has closed it.
 * - The process gets the read end of stdin. The shim holds a write end until CloseIO, so that the process sees the
 *   end of file neither before the client has come nor between two clients.
 */
export class Stdio {
  /** stdin, stdout and stderr for the process, until `handedOver`. */
  readonly child: readonly [number, number, number];
  readonly #keepers: number[];
  #stdinHolder: number | undefined;
  #handedOver = false;

  private constructor(child: readonly [number, number, number], keepers: number[], stdinHolder: number | undefined) {
    this.child = child;
    this.#keepers = keepers;
    this.#stdinHolder = stdinHolder;
  }

  /**
   * Takes over what `program` has for output, and the ends of pipes are made `owner`'s.
   * Throws `failed_precondition` for a missing file, `unimplemented` for a scheme that isn't known.
   */
  static open(paths: StdioPaths, owner: Owner, program?: LoggingProgram): Stdio {
    const opened: number[] = [];
    const keep = (fd: number): number => {
      opened.push(fd);
      return fd;
    };
    try {
      const [stdout, stderr] = program?.takeOutputs().map((fd) => ({ child: keep(fd), keeper: undefined })) ?? [
        openOutput(paths.stdout, keep),
        openOutput(paths.stderr, keep),
      ];
      const stdin = openInput(paths.stdin, keep);
      const keepers = [stdout?.keeper, stderr?.keeper].filter((fd) => fd !== undefined);
      const child = [stdin, stdout, stderr].map((end) => end?.child ?? -1);
      for (const fd of child) giveTo(owner, fd);
      return new Stdio(child as [number, number, number], keepers, stdin.holder);
    } catch (error) {
      for (const fd of opened) close(fd);
      throw error;
    }
  }

  /** The process runs and has the descriptors: drops the shim's own of those. */
  handedOver(): void {
    if (this.#handedOver) return;
    this.#handedOver = true;
    for (const fd of this.child) close(fd);
  }

  closeStdin(): void {
    if (this.#stdinHolder === undefined) return;
    close(this.#stdinHolder);
    this.#stdinHolder = undefined;
  }

  /** Lets go of everything; unread output is lost unless a reader has the FIFO open. */
  close(): void {
    this.handedOver();
    this.closeStdin();
    for (const fd of this.#keepers.splice(0)) close(fd);
  }
}

function giveTo({ uid, gid }: Owner, fd: number): void {
  if ((uid !== 0 || gid !== 0) && kindOf(`/proc/self/fd/${fd}`) === 'fifo') fchown(fd, uid, gid);
}

/** Whether a process's output goes to a program (logging-program.ts). */
export function namesProgram(uri: string): boolean {
  return /^binary(?:-v2)?:\/\//.test(uri);
}

export function openNull(): number {
  return open('/dev/null', O.RDWR, 0);
}

/** `holder` is a write end that keeps the FIFO from ending; both are reported to `keep`. */
export function openInput(uri: string, keep: (fd: number) => number): { child: number; holder?: number } {
  if (uri === '') return { child: keep(openNull()) };
  const path = pathOf(uri);
  const isFifo = kindOfNamed(path) === 'fifo';
  const child = keep(openNamed(path, O.RDONLY | (isFifo ? O.NONBLOCK : 0)));
  if (!isFifo) return { child };
  const holder = keep(openNamed(path, O.WRONLY | O.NONBLOCK));
  setNonblock(child, false);
  return { child, holder };
}

/** `keeper` is a read end that keeps unread data; both are reported to `keep`. */
export function openOutput(uri: string, keep: (fd: number) => number): { child: number; keeper?: number } {
  if (uri === '') return { child: keep(openNull()) };
  const path = pathOf(uri);
  if (uri.startsWith('file://')) {
    makeFolders(folderOf(path), 0o755);
    return { child: keep(openNamed(path, O.WRONLY | O.APPEND | O.CREAT)) };
  }
  if (kindOfNamed(path) !== 'fifo') return { child: keep(openNamed(path, O.WRONLY | O.APPEND)) };
  const keeper = keep(openNamed(path, O.RDONLY | O.NONBLOCK));
  return { child: keep(openNamed(path, O.WRONLY)), keeper };
}

function pathOf(uri: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(uri)?.[1];
  if (scheme === undefined) return uri;
  if (scheme === 'fifo' || scheme === 'file') return decodeURIComponent(new URL(uri).pathname);
  throw new BerthError(
    'unimplemented',
    `stdio ${uri}: only FIFO paths, file:// and, for all output, binary:// are known`,
  );
}

function kindOfNamed(path: string): FileKind {
  try {
    return kindOf(path);
  } catch (error) {
    throw missing(error, path);
  }
}

function openNamed(path: string, flags: number): number {
  try {
    return open(path, flags, 0o644);
  } catch (error) {
    throw missing(error, path);
  }
}

function missing(error: unknown, path: string): BerthError {
  if (!hasErrno(error, 'ENOENT', 'ENOTDIR')) return BerthError.from(error, 'open stdio');
  return new BerthError('failed_precondition', `stdio ${path} doesn't exist: the client makes it before the call`, {
    cause: error,
  });
}
