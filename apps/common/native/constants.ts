/** Linux constants for the calls of the native addon; values from the kernel's uapi headers. */

/** mount(2) flags. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  MANDLOCK: 64,
  DIRSYNC: 128,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  SILENT: 32768,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  STRICTATIME: 1 << 24,
  LAZYTIME: 1 << 25,
} as const;

/** umount2(2) flags. */
export const MNT = { FORCE: 1, DETACH: 2, EXPIRE: 4, UMOUNT_NOFOLLOW: 8 } as const;

/** epoll(7) events. */
export const EPOLL = {
  IN: 1,
  PRI: 2,
  OUT: 4,
  ERR: 8,
  HUP: 16,
  RDHUP: 0x2000,
  ONESHOT: 0x40000000,
  ET: 0x80000000,
} as const;

/** inotify(7) events. */
export const IN = { MODIFY: 2 } as const;

/** waitpid(2) options. */
export const W = { NOHANG: 1, UNTRACED: 2, CONTINUED: 8 } as const;

/** splice(2) flags. */
export const SPLICE = { MOVE: 1, NONBLOCK: 2, MORE: 4 } as const;

/** openat2(2) resolve flags. */
export const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

/** flock(2) operations; the addon never waits for a lock. */
export const LOCK = { SHARED: 1, EXCLUSIVE: 2, UNLOCK: 8 } as const;

/** Bit numbers in the mask of getCapEffective (capabilities(7)). */
export const CAP = { SYS_ADMIN: 21n, SYS_RESOURCE: 24n, MKNOD: 27n } as const;

/** open(2) flags; node:fs has those that Node knows under `constants`. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** The file type in st_mode. */
export const S = { IFMT: 0o170000, IFIFO: 0o010000, IFCHR: 0o020000, IFDIR: 0o040000, IFREG: 0o100000 } as const;
