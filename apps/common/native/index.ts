/**
 * The typed face of the native addon (native.c): system calls that Node and Bun lack.
 *
 * Every failure throws a Node-style Error with `code` ('ENOENT'), `errno` (negative), `syscall` and
 * mostly `path`; `BerthError.from` maps it. Calls are synchronous and short unless they say otherwise.
 */
export { CAP, EPOLL, IN, LOCK, MNT, MS, O, RESOLVE, S, SPLICE, W } from './constants.ts';

/** What waitpid(2) collected. One of `exitCode` and `signal` is set for an ended process. */
export interface WaitStatus {
  readonly pid: number;
  /** The raw status word. */
  readonly status: number;
  readonly exitCode: number | null;
  readonly signal: number | null;
}

export interface Native {
  /** Makes this process adopt orphaned descendants: PR_SET_CHILD_SUBREAPER. */
  prctlSubreaper(): void;
  /** What `process.pid` keeps from its first use, and has wrong in a fork. */
  getpid(): number;
  /** The signal this process gets when the thread that started it ends; 0 for none. */
  setPdeathsig(signal: number): void;
  setsid(): number;
  /** null when no child is ready (W.NOHANG), or with pid -1 when there is no child. Blocks without W.NOHANG. */
  waitpid(pid: number, options: number): WaitStatus | null;
  /**
   * posix_spawn: runs `argv[0]` (looked up on this process's PATH) with exactly `env` ("K=V"), descriptors
   * 0…n being `fds` and no others, default signals, `cwd` unless null, in a new session if `newSession`.
   * The caller collects the exit with waitpid. An unknown program throws ENOENT. At most 8 descriptors.
   */
  spawn(
    argv: readonly string[],
    env: readonly string[],
    cwd: string | null,
    fds: readonly number[],
    newSession: boolean,
  ): number;
  /** fork(2): 0 in the fork, which has a session and an event loop's epoll and eventfds of its own. EBUSY as below. */
  fork(): number;
  /**
   * Which memory this fork has used until now: what it has written to, and what it has seen of files. For
   * `forkOnRequest`, in the process that it comes from.
   */
  memoryOfFork(): Buffer;
  /**
   * Forks this process for every message on the SOCK_SEQPACKET socket that has a descriptor with it, and returns in the
   * forks only: each in a session of its own, with an event loop's epoll and eventfds of its own, the descriptor and the
   * message. The process itself waits in here, and ends when the socket does. What it has begun on its event loop goes on
   * in every fork. `memory` is what each will use: to get it in a few calls takes a fraction of the time of as many faults.
   * A fork that can't be made leaves its complaint on the descriptor. EBUSY unless this is the only thread.
   */
  forkOnRequest(socket: number, memory: Buffer): { fd: number; request: Buffer };
  /** What /proc/self/cmdline shows; at most as long as what the process was executed with, and zeros after it. */
  setCommandLine(argv: readonly string[]): void;
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): void;
  /** The effective capabilities as a mask; bit numbers in CAP. */
  getCapEffective(): bigint;

  /** open(2) with O_CLOEXEC. For a FIFO pass O_NONBLOCK or O_RDWR, else it waits for the other end. */
  open(path: string, flags: number, mode: number): number;
  /** openat2(2) with O_CLOEXEC; `dirfd` -100 is the working directory; `resolve` from RESOLVE. */
  openat2(dirfd: number, path: string, flags: number, mode: number, resolve: number): number;
  close(fd: number): void;
  /*
   * Plain file calls, for the one program that can't afford to load node:fs: the shim. Use node:fs elsewhere.
   */

  /** Everything from the current position to the end; waits for a pipe's writers. */
  readAll(fd: number): Buffer;
  /**
   * Files of one folder, in the order of their names, without the white space at their ends. undefined for one that
   * isn't there, also where a cgroup or process vanishes meanwhile. Their bytes are taken for Latin-1.
   *
   * `kept` has a place per name for its open descriptor, -1 where there is none: what is read stays open there and is read
   * again without a look at its path, and what is gone is closed. Only for files of cgroupfs, which come in one read; the
   * caller closes what it keeps.
   */
  readSmall(folder: string, names: readonly string[], kept?: Int32Array): (string | undefined)[];
  /** Writes all of it; waits where the descriptor does. */
  writeAll(fd: number, bytes: Uint8Array): void;
  /** `st_mode` of what the path leads to. */
  fileMode(path: string): number;
  /** The names in a folder, in no order. */
  names(path: string): string[];
  /** The names of the folders in a folder. */
  folders(path: string): string[];
  mkdir(path: string, mode: number): void;
  rename(from: string, to: string): void;
  /** Lets two names on one file system change what they stand for, in one step (renameat2(2), RENAME_EXCHANGE). */
  exchange(one: string, other: string): void;
  unlink(path: string): void;
  rmdir(path: string): void;

  fchown(fd: number, uid: number, gid: number): void;
  /** A second descriptor of the same open file, close-on-exec. */
  dup(fd: number): number;
  /** pipe2(2), always close-on-exec: [read end, write end]. */
  pipe(flags: number): [number, number];
  /** A file in memory, without a path (memfd_create). `name` shows in /proc. */
  memfd(name: string): number;
  setNonblock(fd: number, on: boolean): void;
  setCloexec(fd: number, on: boolean): void;
  /** Reads at `position` what the kernel has in memory: bytes read, 0 at the end; null where it would wait for the disk. */
  readCached(fd: number, into: Buffer, position: number): number | null;
  /** Bytes that a read would find now. */
  fionread(fd: number): number;
  /** Sets how many bytes a pipe holds; answers what the kernel made of it. */
  setPipeSize(fd: number, bytes: number): number;
  /** Takes or drops a lock without waiting: false when another holds it. */
  flock(fd: number, operation: number): boolean;
  /** Bytes moved; 0 at end of file; -1 where it would block. */
  splice(fdIn: number, fdOut: number, length: number, flags: number): number;
  /** Moves the file position that `splice` and position-less reads and writes use; answers it. */
  seek(fd: number, offset: number): number;
  /** Gives a range's memory or blocks back; the file keeps its size and reads zeros there. */
  punchHole(fd: number, offset: number, length: number): void;
  /** Flushes a whole file system: slow, for worker threads. */
  syncfs(fd: number): void;
  mkfifo(path: string, mode: number): void;
  /** `mode` with its S_IF* type. */
  mknod(path: string, mode: number, major: number, minor: number): void;
  /** Sets the times of a path, not of what a symlink points to; seconds and nanoseconds. */
  lutimens(path: string, atime: number, atimeNs: number, mtime: number, mtimeNs: number): void;
  /** Extended attributes of the path itself, symlinks not followed. */
  lsetxattr(path: string, name: string, value: Buffer, flags: number): void;
  /** ENODATA when the attribute isn't there. */
  lremovexattr(path: string, name: string): void;
  /** null when the attribute isn't there. */
  lgetxattr(path: string | Buffer, name: string): Buffer | null;
  llistxattr(path: string | Buffer): string[];
  /** Changes the whole process's root, and its working directory to it: for short-lived children. */
  chroot(path: string): void;
  /** The same with an open directory, which may lie outside the present root. */
  fchroot(fd: number): void;

  /**
   * Gives the calling thread a mount namespace, and with it a root and working directory, of its own: for short-lived
   * children that from then on make synchronous calls only. What they mount goes with them.
   */
  unshareMounts(): void;

  /**
   * A block device that shows a file: its open descriptor and its path. It goes by itself when it is neither open nor
   * mounted any more.
   */
  loopAttach(file: string, readOnly: boolean): [number, string];

  /**
   * mount(2). With `cwd`, relative paths in `source`, `target` and `data` start there (a thread of its own does
   * the call), which keeps a long overlay `lowerdir` within the page that the kernel allows.
   */
  mount(
    source: string | null,
    target: string,
    fstype: string | null,
    flags: number,
    data: string | null,
    cwd?: string | null,
  ): void;
  umount(target: string, flags: number): void;
  /** A bind mount, with the mounts below it, whose ids are mapped by the user namespace behind `userns`. */
  bindIdmapped(source: string, target: string, userns: number, readOnly: boolean): void;
  /** A new user namespace with these maps (user_namespaces(7): lines of `inside outside count`), as a descriptor. */
  userNamespace(uidMap: string, gidMap: string): number;

  /**
   * A new network namespace with `lo` up, pinned at `path` (a file it creates; EEXIST if there is one).
   * On failure nothing is left. Runs on a thread of its own.
   */
  netnsCreate(path: string): Promise<void>;
  /** Unpins: unmounts and removes `path`. Nothing to do is no error. */
  netnsDelete(path: string): void;
  /**
   * A non-blocking TCP connection to 127.0.0.1, or else ::1, inside the network namespace at a path (null: our own), made
   * on a thread of its own within 10 s per address. Fails as IPv4 did unless IPv6 succeeds.
   */
  connectLoopback(netns: string | null, port: number): Promise<number>;

  /** Sets a terminal's size: TIOCSWINSZ. */
  tiocswinsz(fd: number, rows: number, columns: number): void;
  /** A listening, non-blocking unix stream socket; the file has `mode` from the start. */
  unixListen(path: string, mode: number): number;
  /** A non-blocking connection to a unix stream socket; ECONNREFUSED when no one listens. */
  unixConnect(path: string): number;
  /** The next connection, non-blocking, or null when none waits. */
  unixAccept(fd: number): number | null;
  /** The descriptor sent over a unix socket (SCM_RIGHTS), or null when nothing has arrived. */
  recvFd(socket: number): number | null;
  /** Two ends of a SOCK_SEQPACKET connection, close-on-exec. */
  packetPair(): [number, number];
  /** One message with a descriptor over a unix socket (SCM_RIGHTS). Never waits: EAGAIN. */
  sendFd(socket: number, message: string, fd: number): void;
  /** One datagram to systemd's NOTIFY_SOCKET; a leading "@" names an abstract socket. */
  sdNotify(socketPath: string, message: string): void;
  /**
   * Copies terminal → `output` and `input` → terminal on a thread of its own (-1: none), on copies of the
   * descriptors, which must be non-blocking. Calls `ended` once when the terminal has hung up and its output is
   * written, or after the eventfd `stop` was signalled.
   */
  consoleCopy(terminal: number, input: number, output: number, stop: number, ended: () => void): void;

  epollCreate(): number;
  epollAdd(epoll: number, fd: number, events: number): void;
  epollMod(epoll: number, fd: number, events: number): void;
  epollDel(epoll: number, fd: number): void;
  /**
   * Fills `out` with pairs of descriptor and events; answers the number of pairs, 0 after `timeoutMs` (-1: no
   * timeout) or a signal. Blocks: for worker threads.
   */
  epollWait(epoll: number, timeoutMs: number, out: Int32Array): number;
  /**
   * An epoll that a thread waits for as long as the process lives: it sends the calling thread `signal` when something
   * becomes ready, and not again for what is ready already: epollWait takes all that is. EBUSY the second time.
   */
  epollWatch(signal: number): number;
  /** Bytes read from a socket; 0 at its end; -1 when there is nothing yet. Never waits. */
  recv(socket: number, into: Buffer): number;
  /** Bytes that a socket took; -1 when it takes none now. Never waits, never raises SIGPIPE. */
  send(socket: number, from: Uint8Array): number;
  eventfd(): number;
  eventfdSignal(fd: number): void;
  /** Resets an eventfd; answers how often it was signalled. */
  eventfdDrain(fd: number): number;
  /** A non-blocking descriptor that can be read once something in `mask` (IN) has happened to the path (inotify(7)). */
  inotify(path: string, mask: number): number;
  /** Reads away what a non-blocking descriptor has, to its end or until it would block. */
  discard(fd: number): void;
  /** Gives what malloc keeps, but nobody uses, back to the system; some milliseconds where that is much. */
  mallocTrim(): void;
}

/**
 * A compiled program finds the addon beside its executable; source finds it in the tree's dist/.
 * Without node:path, which would take a twentieth of an idle shim's memory.
 */
function addonPath(): string {
  const override = process.env.BERTH_NATIVE;
  if (override) return override;
  const compiled = import.meta.dirname.startsWith('/$bunfs');
  const folder = compiled
    ? process.execPath.slice(0, process.execPath.lastIndexOf('/'))
    : `${import.meta.dirname}/../../../dist`;
  return `${folder}/berth-native.node`;
}

function load(): Native {
  const path = addonPath();
  const holder = { exports: {} };
  try {
    process.dlopen(holder, path);
  } catch (cause) {
    throw new Error(`cannot load the native addon ${path}; "npm run build:native" makes it`, { cause });
  }
  return holder.exports as Native;
}

export const native: Native = load();
export const {
  prctlSubreaper,
  getpid,
  setPdeathsig,
  setsid,
  waitpid,
  spawn,
  fork,
  memoryOfFork,
  forkOnRequest,
  setCommandLine,
  pidfdOpen,
  pidfdSendSignal,
  getCapEffective,
  open,
  openat2,
  close,
  readAll,
  readSmall,
  writeAll,
  fileMode,
  names,
  folders,
  mkdir,
  rename,
  exchange,
  unlink,
  rmdir,
  fchown,
  dup,
  pipe,
  memfd,
  setNonblock,
  setCloexec,
  readCached,
  fionread,
  setPipeSize,
  flock,
  splice,
  seek,
  punchHole,
  syncfs,
  mkfifo,
  mknod,
  lutimens,
  lsetxattr,
  lremovexattr,
  lgetxattr,
  llistxattr,
  chroot,
  fchroot,
  unshareMounts,
  loopAttach,
  mount,
  umount,
  bindIdmapped,
  userNamespace,
  netnsCreate,
  netnsDelete,
  connectLoopback,
  tiocswinsz,
  unixListen,
  unixConnect,
  unixAccept,
  recvFd,
  packetPair,
  sendFd,
  sdNotify,
  consoleCopy,
  epollCreate,
  epollAdd,
  epollMod,
  epollDel,
  epollWait,
  epollWatch,
  recv,
  send,
  eventfd,
  eventfdSignal,
  eventfdDrain,
  inotify,
  discard,
  mallocTrim,
} = native;
