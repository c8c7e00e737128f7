import { BerthError } from '#common/errors.ts';
import { removeFile } from '#common/native/files.ts';
import {
  close,
  consoleCopy,
  eventfd,
  eventfdSignal,
  recvFd,
  setNonblock,
  tiocswinsz,
  unixAccept,
  unixListen,
} from '#common/native/index.ts';
import type { LoggingProgram } from './logging-program.ts';
import { openInput, openOutput, type StdioPaths } from './stdio.ts';

/** The socket over which the OCI runtime hands out a terminal's master (runc's `docs/terminals.md`). */
export class ConsoleSocket {
  readonly path: string;
  readonly #fd: number;

  /** `path` must be short: at most 107 bytes. */
  constructor(path: string) {
    this.path = path;
    this.#fd = unixListen(path, 0o600);
  }

  /** The master. The runtime has sent it before it ends, so nothing is waited for. */
  receive(): number {
    const connection = unixAccept(this.#fd);
    if (connection === null) throw new BerthError('internal', 'the OCI runtime sent no terminal');
    try {
      const master = recvFd(connection);
      if (master === null) throw new BerthError('internal', 'the OCI runtime sent no terminal');
      return master;
    } finally {
      close(connection);
    }
  }

  close(): void {
    close(this.#fd);
    removeFile(this.path);
  }
}

/** A process's terminal: its master, copied to and from the client's FIFOs. stderr isn't used. */
export class Console {
  readonly #master: number;
  readonly #stop = eventfd();
  #stdinHolder: number | undefined;
  readonly #keeper: number | undefined;
  #open = true;
  /** Settles when all output is in the FIFO. */
  readonly drained: Promise<void>;

  /** Owns `master` from here on, also when it throws. Takes over what `program` has for output. */
  constructor(master: number, paths: StdioPaths, program?: LoggingProgram) {
    this.#master = master;
    const opened: number[] = [];
    const keep = (fd: number): number => {
      opened.push(fd);
      return fd;
    };
    try {
      const output = outputOf(paths, program, keep);
      const input = paths.stdin === '' ? undefined : openInput(paths.stdin, keep);
      const copied = [input?.child, output?.child].filter((fd) => fd !== undefined);
      for (const fd of [master, ...copied]) setNonblock(fd, true);
      this.drained = new Promise((resolve) => {
        consoleCopy(master, input?.child ?? -1, output?.child ?? -1, this.#stop, resolve);
      });
      this.#stdinHolder = input?.holder;
      this.#keeper = output?.keeper;
      for (const fd of copied) close(fd);
    } catch (error) {
      for (const fd of [...opened, master, this.#stop]) close(fd);
      throw error;
    }
  }

  /** A terminal that has hung up has no size: no error. */
  resize(rows: number, columns: number): void {
    if (this.#open) tiocswinsz(this.#master, rows, columns);
  }

  closeStdin(): void {
    if (this.#stdinHolder === undefined) return;
    close(this.#stdinHolder);
    this.#stdinHolder = undefined;
  }

  /** Ends the copying and lets go of everything. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    eventfdSignal(this.#stop);
    close(this.#stop);
    close(this.#master);
    this.closeStdin();
    if (this.#keeper !== undefined) close(this.#keeper);
  }
}

function outputOf(
  { stdout }: StdioPaths,
  program: LoggingProgram | undefined,
  keep: (fd: number) => number,
): { child: number; keeper?: number } | undefined {
  if (program === undefined) return stdout === '' ? undefined : openOutput(stdout, keep);
  const [child, stderr] = program.takeOutputs();
  close(stderr);
  return { child: keep(child) };
}
