/*
 * Records what a process does to files, for the simulation of power cuts (see disk-model.ts): preloaded into a program
 * (LD_PRELOAD), it writes a record for each change of a file or directory, and one before and one after each sync, to the
 * log that POWER_CUT_LOG names. Files go by inode number, so that paths mean the same in a process that has chrooted.
 *
 *   C parent inode kind name      a name was made: kind f(ile), d(irectory), o(ther)
 *   W inode offset length         followed by the bytes
 *   T inode length                truncated
 *   R parent name parent name     renamed
 *   U parent name                 unlinked or removed
 *   B inode number / E number     fsync or fdatasync began / ended
 *   S number / E number           syncfs or sync began / ended
 *
 * A record is written after the change it tells of and before the call returns, in one write to a file that is opened for
 * appending: the order of the log is one in which the changes can have happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(ret, name, ...) \
    static ret (*real)(__VA_ARGS__); \
    if (!real) real = (ret (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int log_fd = -1;
static atomic_ulong numbers;

__attribute__((constructor)) static void open_log(void) {
    const char *path = getenv("POWER_CUT_LOG");
    if (!path) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    log_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 700);
    syscall(SYS_close, fd);
}

/* Leaves errno alone, as everything after the real call must. */
static void record(const void *data, size_t length, const char *format, ...) {
    if (log_fd < 0) return;
    int saved = errno;
    char line[PATH_MAX * 2 + 200];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    struct iovec parts[2] = {{line, (size_t)size}, {(void *)data, length}};
    syscall(SYS_writev, log_fd, parts, length > 0 ? 2 : 1);
    errno = saved;
}

static unsigned long inode_of(int fd) {
    struct stat at;
    int saved = errno;
    unsigned long inode = fstat(fd, &at) == 0 ? (unsigned long)at.st_ino : 0;
    errno = saved;
    return inode;
}

/* The directory that a path's last name is in; `name` is set to that name. */
static unsigned long parent_of(int dirfd, const char *path, const char **name) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat at;
    int saved = errno;
    *name = slash ? slash + 1 : path;
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder) return 0;
    memcpy(folder, path, length);
    folder[length] = 0;
    const char *where = slash == path ? "/" : slash ? folder : ".";
    unsigned long inode = fstatat(dirfd, where, &at, 0) == 0 ? (unsigned long)at.st_ino : 0;
    errno = saved;
    return inode;
}

static void record_made(int dirfd, const char *path) {
    struct stat at;
    const char *name;
    int saved = errno;
    if (fstatat(dirfd, path, &at, AT_SYMLINK_NOFOLLOW) == 0) {
        char kind = S_ISREG(at.st_mode) ? 'f' : S_ISDIR(at.st_mode) ? 'd' : 'o';
        unsigned long parent = parent_of(dirfd, path, &name);
        record(NULL, 0, "C %lu %lu %c %s\n", parent, (unsigned long)at.st_ino, kind, name);
    }
    errno = saved;
}

static int opened(int fd, int dirfd, const char *path, int flags) {
    if (fd < 0) return fd;
    if (flags & O_CREAT) record_made(dirfd, path);
    if (flags & O_TRUNC) record(NULL, 0, "T %lu 0\n", inode_of(fd));
    return fd;
}

#define MODE \
    va_list arguments; \
    va_start(arguments, flags); \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
    va_end(arguments)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE; \
        REAL(int, #name, const char *, int, ...); \
        return opened(real(path, flags, mode), AT_FDCWD, path, flags); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dirfd, const char *path, int flags, ...) { \
        MODE; \
        REAL(int, #name, int, const char *, int, ...); \
        return opened(real(dirfd, path, flags, mode), dirfd, path, flags); \
    }
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(ssize_t result, int fd, const void *data, off_t offset) {
    if (result > 0 && log_fd >= 0) {
        struct stat at;
        int saved = errno;
        if (fstat(fd, &at) == 0 && S_ISREG(at.st_mode)) {
            if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - result;
            record(data, (size_t)result, "W %lu %ld %zd\n", (unsigned long)at.st_ino, (long)offset, result);
        }
        errno = saved;
    }
    return result;
}

ssize_t write(int fd, const void *data, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return written(real(fd, data, length), fd, data, -1);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t length, off_t offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t); \
        return written(real(fd, data, length, offset), fd, data, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

/* Several buffers are written one after another, which a kernel may do as well. */
static ssize_t write_all(int fd, const struct iovec *parts, int count, off_t offset) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].iov_len == 0) continue;
        ssize_t result = offset < 0 ? write(fd, parts[i].iov_base, parts[i].iov_len)
                                    : pwrite(fd, parts[i].iov_base, parts[i].iov_len, offset + total);
        if (result < 0) return total > 0 ? total : result;
        total += result;
        if ((size_t)result < parts[i].iov_len) break;
    }
    return total;
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return write_all(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return write_all(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return write_all(fd, parts, count, offset); }

#define FTRUNCATE(name) \
    int name(int fd, off_t length) { \
        REAL(int, #name, int, off_t); \
        int result = real(fd, length); \
        if (result == 0) record(NULL, 0, "T %lu %ld\n", inode_of(fd), (long)length); \
        return result; \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    int result = real(path, mode);
    if (result == 0) record_made(AT_FDCWD, path);
    return result;
}

int symlink(const char *target, const char *path) {
    REAL(int, "symlink", const char *, const char *);
    int result = real(target, path);
    if (result == 0) record_made(AT_FDCWD, path);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    const char *old_name, *new_name;
    unsigned long old_parent = parent_of(AT_FDCWD, from, &old_name), new_parent = parent_of(AT_FDCWD, to, &new_name);
    int result = real(from, to);
    if (result == 0) record(NULL, 0, "R %lu %s/%lu %s\n", old_parent, old_name, new_parent, new_name);
    return result;
}

static int removed(int result, unsigned long parent, const char *name) {
    if (result == 0) record(NULL, 0, "U %lu %s\n", parent, name);
    return result;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    const char *name;
    unsigned long parent = parent_of(AT_FDCWD, path, &name);
    return removed(real(path), parent, name);
}

/* What Node's rmSync comes down to. */
int remove(const char *path) {
    REAL(int, "remove", const char *);
    const char *name;
    unsigned long parent = parent_of(AT_FDCWD, path, &name);
    return removed(real(path), parent, name);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    const char *name;
    unsigned long parent = parent_of(AT_FDCWD, path, &name);
    return removed(real(path), parent, name);
}

int unlinkat(int dirfd, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    const char *name;
    unsigned long parent = parent_of(dirfd, path, &name);
    return removed(real(dirfd, path, flags), parent, name);
}

#define SYNC(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        unsigned long number = ++numbers * 100000 + (unsigned long)getpid() % 100000; \
        record(NULL, 0, "B %lu %lu\n", inode_of(fd), number); \
        int result = real(fd); \
        if (result == 0) record(NULL, 0, "E %lu\n", number); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)

int syncfs(int fd) {
    REAL(int, "syncfs", int);
    unsigned long number = ++numbers * 100000 + (unsigned long)getpid() % 100000;
    record(NULL, 0, "S %lu\n", number);
    int result = real(fd);
    if (result == 0) record(NULL, 0, "E %lu\n", number);
    return result;
}
