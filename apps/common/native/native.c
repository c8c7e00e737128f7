/*
 * System calls that Node and Bun lack, as a Node-API 8 addon.
 *
 * One function per call, in the order of the table at the end. A failed call throws an Error with
 * `code`, `errno` (negative, as Node's own), `syscall` and, where one is meant, `path`.
 * Nothing here blocks the event loop, except where index.ts says "for worker threads".
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <node_api.h>

#include <dirent.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- errors: the one path from errno to JavaScript ---- */

static napi_value make_error(napi_env env, int err, const char *syscall_name, const char *path) {
  const char *name = strerrorname_np(err);
  char text[PATH_MAX + 256];
  napi_value code, message, error, value;
  if (name == NULL) name = "UNKNOWN";
  if (path != NULL)
    snprintf(text, sizeof text, "%s: %s, %s '%s'", name, strerrordesc_np(err), syscall_name, path);
  else
    snprintf(text, sizeof text, "%s: %s, %s", name, strerrordesc_np(err), syscall_name);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
  napi_create_error(env, code, message, &error);
  napi_create_int32(env, -err, &value);
  napi_set_named_property(env, error, "errno", value);
  napi_create_string_utf8(env, syscall_name, NAPI_AUTO_LENGTH, &value);
  napi_set_named_property(env, error, "syscall", value);
  if (path != NULL) {
    napi_create_string_utf8(env, path, NAPI_AUTO_LENGTH, &value);
    napi_set_named_property(env, error, "path", value);
  }
  return error;
}

static napi_value fail_with(napi_env env, int err, const char *syscall_name, const char *path) {
  napi_throw(env, make_error(env, err, syscall_name, path));
  return NULL;
}

static napi_value fail(napi_env env, const char *syscall_name, const char *path) {
  return fail_with(env, errno, syscall_name, path);
}

/* ---- arguments and results ---- */

static void free_string(char **text) { free(*text); }
#define AUTO_STRING __attribute__((cleanup(free_string))) char *

/* A path may come as bytes: not every name is valid UTF-8. */
static char *get_bytes(napi_env env, napi_value value) {
  void *data = NULL;
  size_t length = 0;
  napi_get_buffer_info(env, value, &data, &length);
  if (memchr(data, 0, length) != NULL) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", "a path must not contain NUL");
    return NULL;
  }
  char *text = strndup(data, length);
  if (text == NULL) fail_with(env, ENOMEM, "malloc", NULL);
  return text;
}

static char *get_string(napi_env env, napi_value value) {
  bool bytes = false;
  if (napi_is_buffer(env, value, &bytes) == napi_ok && bytes) return get_bytes(env, value);
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a string is required");
    return NULL;
  }
  char *text = malloc(length + 1);
  if (text == NULL) {
    fail_with(env, ENOMEM, "malloc", NULL);
    return NULL;
  }
  napi_get_value_string_utf8(env, value, text, length + 1, &length);
  if (strlen(text) != length) {
    free(text);
    napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", "a string must not contain NUL");
    return NULL;
  }
  return text;
}

static bool get_int64(napi_env env, napi_value value, int64_t *out) {
  if (napi_get_value_int64(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a number is required");
  return false;
}

static bool get_int(napi_env env, napi_value value, int *out) {
  int64_t wide;
  if (!get_int64(env, value, &wide)) return false;
  *out = (int)wide;
  return true;
}

static bool get_bool(napi_env env, napi_value value, bool *out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a boolean is required");
  return false;
}

static bool is_absent(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

#define ARGS(count)                                                   \
  napi_value argv[count];                                             \
  size_t argc = count;                                                \
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL)
#define STRING(name, i)                                               \
  AUTO_STRING name = get_string(env, argv[i]);                        \
  if (name == NULL) return NULL
#define OPTIONAL_STRING(name, i)                                      \
  AUTO_STRING name = NULL;                                            \
  if (!is_absent(env, argv[i]) && (name = get_string(env, argv[i])) == NULL) return NULL
#define INT(name, i)                                                  \
  int name;                                                           \
  if (!get_int(env, argv[i], &name)) return NULL
#define INT64(name, i)                                                \
  int64_t name;                                                       \
  if (!get_int64(env, argv[i], &name)) return NULL
#define BOOL(name, i)                                                 \
  bool name;                                                          \
  if (!get_bool(env, argv[i], &name)) return NULL

static napi_value undefined(napi_env env) {
  napi_value value;
  napi_get_undefined(env, &value);
  return value;
}

static napi_value null(napi_env env) {
  napi_value value;
  napi_get_null(env, &value);
  return value;
}

static napi_value number(napi_env env, int64_t n) {
  napi_value value;
  napi_create_int64(env, n, &value);
  return value;
}

/* undefined, or the error of a call that answered -1 */
static napi_value done(napi_env env, int rc, const char *syscall_name, const char *path) {
  return rc < 0 ? fail(env, syscall_name, path) : undefined(env);
}

/* the number a call answered, or its error */
static napi_value result(napi_env env, int64_t rc, const char *syscall_name, const char *path) {
  return rc < 0 ? fail(env, syscall_name, path) : number(env, rc);
}

/* ---- processes ---- */

static napi_value n_prctl_subreaper(napi_env env, napi_callback_info info) {
  (void)info;
  return done(env, prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl", NULL);
}

static napi_value n_getpid(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, getpid());
}

static napi_value n_set_pdeathsig(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(signal_number, 0);
  return done(env, prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl", NULL);
}

static napi_value n_setsid(napi_env env, napi_callback_info info) {
  (void)info;
  return result(env, setsid(), "setsid", NULL);
}

static napi_value n_waitpid(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(pid, 0);
  INT(options, 1);
  int status = 0;
  pid_t rc;
  do rc = waitpid(pid, &status, options);
  while (rc < 0 && errno == EINTR);
  if (rc == 0 || (rc < 0 && errno == ECHILD && pid == -1)) return null(env);
  if (rc < 0) return fail(env, "waitpid", NULL);
  napi_value object;
  napi_create_object(env, &object);
  napi_set_named_property(env, object, "pid", number(env, rc));
  napi_set_named_property(env, object, "status", number(env, status));
  napi_set_named_property(env, object, "exitCode", WIFEXITED(status) ? number(env, WEXITSTATUS(status)) : null(env));
  napi_set_named_property(env, object, "signal", WIFSIGNALED(status) ? number(env, WTERMSIG(status)) : null(env));
  return object;
}

static void free_strings(char ***list) {
  if (*list == NULL) return;
  for (char **item = *list; *item != NULL; item++) free(*item);
  free(*list);
}

static char **get_strings(napi_env env, napi_value array) {
  uint32_t length = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "an array of strings is required");
    return NULL;
  }
  char **list = calloc(length + 1, sizeof *list);
  for (uint32_t i = 0; list != NULL && i < length; i++) {
    napi_value item;
    napi_get_element(env, array, i, &item);
    list[i] = get_string(env, item);
    if (list[i] == NULL) {
      free_strings(&list);
      return NULL;
    }
  }
  if (list == NULL) fail_with(env, ENOMEM, "malloc", NULL);
  return list;
}

#define SPAWN_MAX_FDS 8

static napi_value n_spawn(napi_env env, napi_callback_info info) {
  ARGS(5);
  __attribute__((cleanup(free_strings))) char **args = get_strings(env, argv[0]);
  if (args == NULL) return NULL;
  __attribute__((cleanup(free_strings))) char **environment = get_strings(env, argv[1]);
  if (environment == NULL) return NULL;
  OPTIONAL_STRING(cwd, 2);
  BOOL(new_session, 4);
  uint32_t fd_count = 0;
  int moved[SPAWN_MAX_FDS];
  if (args[0] == NULL || napi_get_array_length(env, argv[3], &fd_count) != napi_ok || fd_count > SPAWN_MAX_FDS) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_VALUE", "spawn needs a program and at most 8 descriptors");
    return NULL;
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t all, none;
  pid_t pid = -1;
  int err = 0;
  uint32_t moved_count = 0;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (new_session ? POSIX_SPAWN_SETSID : 0));
  /*
   * Sources are first moved above every target, and no higher: for a descriptor past the 64th the kernel enlarges the
   * table, and where threads share that, it waits for an RCU grace period, some 10 ms.
   */
  for (; moved_count < fd_count; moved_count++) {
    napi_value item;
    int fd = -1;
    napi_get_element(env, argv[3], moved_count, &item);
    if (napi_get_value_int32(env, item, &fd) != napi_ok) fd = -1;
    moved[moved_count] = fcntl(fd, F_DUPFD_CLOEXEC, (int)fd_count);
    if (moved[moved_count] < 0) {
      err = errno;
      break;
    }
    posix_spawn_file_actions_adddup2(&actions, moved[moved_count], (int)moved_count);
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, (int)fd_count);
  if (cwd != NULL) posix_spawn_file_actions_addchdir_np(&actions, cwd);
  if (err == 0) err = posix_spawnp(&pid, args[0], &actions, &attributes, args, environment);
  for (uint32_t i = 0; i < moved_count; i++) close(moved[i]);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return err != 0 ? fail_with(env, err, "spawn", args[0]) : number(env, pid);
}

/*
 * What a fork shares with its parent and must not: an epoll, as event loops have, with the eventfds in it. Each is
 * replaced by a new one with the same entries, under the same number (proc_pid_fdinfo(5)). Answers 0 or an errno.
 */
static int renew_entry(int epoll, int fd, uint32_t events, uint64_t data) {
  char path[64], kind[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(path, kind, sizeof kind - 1);
  if (length < 0) return errno;
  kind[length] = '\0';
  if (strcmp(kind, "anon_inode:[eventfd]") != 0) return ENOTSUP;
  int own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (own < 0) return errno;
  int err = dup3(own, fd, O_CLOEXEC) < 0 ? errno : 0;
  close(own);
  struct epoll_event event = {.events = events, .data.u64 = data};
  if (err == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) err = errno;
  return err;
}

static int renew_epoll(int fd) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  FILE *entries = fopen(path, "re");
  if (entries == NULL) return errno;
  int own = epoll_create1(EPOLL_CLOEXEC);
  int err = own < 0 ? errno : 0;
  while (err == 0 && fgets(line, sizeof line, entries) != NULL) {
    int entry;
    uint32_t events;
    uint64_t data;
    if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &entry, &events, &data) == 3)
      err = renew_entry(own, entry, events, data);
  }
  fclose(entries);
  if (err == 0 && dup3(own, fd, O_CLOEXEC) < 0) err = errno;
  if (own >= 0) close(own);
  return err;
}

static int renew_epolls(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL) return errno;
  int err = 0;
  for (struct dirent *entry = readdir(folder); err == 0 && entry != NULL; entry = readdir(folder)) {
    char kind[64];
    ssize_t length = readlinkat(dirfd(folder), entry->d_name, kind, sizeof kind - 1);
    if (length < 0) continue;
    kind[length] = '\0';
    if (strcmp(kind, "anon_inode:[eventpoll]") == 0) err = renew_epoll(atoi(entry->d_name));
  }
  closedir(folder);
  return err;
}

static int count_threads(void) {
  DIR *folder = opendir("/proc/self/task");
  if (folder == NULL) return -1;
  int count = 0;
  for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

#define REQUEST_MAX 65536

/* One message with one descriptor; -1 for the descriptor where there is none. */
static ssize_t receive_request(int socket_fd, char *bytes, int *fd) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec vector = {.iov_base = bytes, .iov_len = REQUEST_MAX};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  ssize_t length;
  do length = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
  while (length < 0 && errno == EINTR);
  struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  *fd = -1;
  if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
    memcpy(fd, CMSG_DATA(header), sizeof *fd);
  return length;
}

/* Memory that a fork uses at once, and the advice that gets it there in one call (madvise(2)). */
struct range {
  uint64_t start, length;
  int advice;
};

/* Flags of an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGE_EXCLUSIVE (UINT64_C(1) << 56)
#define PAGE_OF_FILE (UINT64_C(1) << 61)
#define PAGE_PRESENT (UINT64_C(1) << 63)

/* Appends the ranges of a mapping whose pages have those of the `asked` flags that `flags` has. Answers 0 or an errno. */
static int append_ranges(int pagemap, uint64_t start, uint64_t end, uint64_t asked, uint64_t flags, FILE *out) {
  int advice = flags & PAGE_OF_FILE ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
  uint64_t entries[512], page = (uint64_t)sysconf(_SC_PAGESIZE);
  struct range range = {.advice = advice};
  while (start < end) {
    size_t count = (end - start) / page < 512 ? (end - start) / page : 512;
    ssize_t length = pread(pagemap, entries, count * sizeof *entries, (off_t)(start / page * sizeof *entries));
    if (length <= 0) return length < 0 ? errno : EIO;
    for (size_t n = 0; n < (size_t)length / sizeof *entries; n++, start += page) {
      bool is_in = (entries[n] & asked) == flags;
      if (is_in && range.length == 0) range.start = start;
      if (is_in) range.length += page;
      if (range.length == 0 || (is_in && start + page < end)) continue;
      fwrite(&range, sizeof range, 1, out);
      range.length = 0;
    }
  }
  return 0;
}

/* What this process alone has, having written to it, and what it has seen of files. */
static int append_memory(FILE *maps, int pagemap, FILE *out) {
  char line[PATH_MAX + 128], rights[5];
  const uint64_t written = PAGE_PRESENT | PAGE_EXCLUSIVE, seen = PAGE_PRESENT | PAGE_OF_FILE;
  int err = 0;
  while (err == 0 && fgets(line, sizeof line, maps) != NULL) {
    uint64_t start, end;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, rights) != 3 || rights[3] != 'p') continue;
    if (rights[1] == 'w')
      err = append_ranges(pagemap, start, end, written | PAGE_OF_FILE, written, out);
    else if (rights[0] == 'r' && strchr(line, '/') != NULL)
      err = append_ranges(pagemap, start, end, seen, seen, out);
  }
  return err;
}

static napi_value n_memory_of_fork(napi_env env, napi_callback_info info) {
  (void)info;
  char *bytes = NULL;
  size_t size = 0;
  FILE *maps = fopen("/proc/self/maps", "re"), *out = open_memstream(&bytes, &size);
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  int err = maps == NULL || out == NULL || pagemap < 0 ? errno : append_memory(maps, pagemap, out);
  if (maps != NULL) fclose(maps);
  if (out != NULL) fclose(out);
  if (pagemap >= 0) close(pagemap);
  napi_value memory = NULL;
  if (err == 0) napi_create_buffer_copy(env, size, bytes, NULL, &memory);
  free(bytes);
  return err == 0 ? memory : fail_with(env, err, "read", "/proc/self/pagemap");
}

/* A range that isn't to be had so (before Linux 5.14, or unmapped since) comes page by page, when it is touched. */
static void populate(const struct range *ranges, size_t count) {
  for (size_t n = 0; n < count; n++) madvise((void *)ranges[n].start, ranges[n].length, ranges[n].advice);
}

/* What a fork does first. Answers 0 or an errno. */
static int part_from_parent(void) {
  signal(SIGCHLD, SIG_DFL);
  setsid();
  return renew_epolls();
}

/* Throws and answers false where a fork would lack the other threads. */
static bool prepare_to_fork(napi_env env) {
  if (count_threads() != 1) {
    fail_with(env, EBUSY, "fork", NULL);
    return false;
  }
  signal(SIGCHLD, SIG_IGN); /* forks are nobody's zombies */
  return true;
}

static napi_value n_fork(napi_env env, napi_callback_info info) {
  (void)info;
  if (!prepare_to_fork(env)) return NULL;
  pid_t pid = fork();
  if (pid < 0) return fail(env, "fork", NULL);
  int err = pid == 0 ? part_from_parent() : 0;
  return err == 0 ? number(env, pid) : fail_with(env, err, "fork", NULL);
}

static napi_value forked(napi_env env, int socket_fd, int fd, const char *bytes, size_t length) {
  close(socket_fd);
  int err = part_from_parent();
  if (err != 0) {
    dprintf(fd, "an event loop of its own: %s", strerrordesc_np(err));
    _exit(1);
  }
  napi_value object, request;
  napi_create_object(env, &object);
  napi_create_buffer_copy(env, length, bytes, NULL, &request);
  napi_set_named_property(env, object, "fd", number(env, fd));
  napi_set_named_property(env, object, "request", request);
  return object;
}

static napi_value n_fork_on_request(napi_env env, napi_callback_info info) {
  static char bytes[REQUEST_MAX];
  ARGS(2);
  INT(socket_fd, 0);
  void *memory = NULL;
  size_t size = 0;
  napi_get_buffer_info(env, argv[1], &memory, &size);
  if (!prepare_to_fork(env)) return NULL;
  for (;;) {
    int fd;
    ssize_t length = receive_request(socket_fd, bytes, &fd);
    if (length <= 0) _exit(0);
    if (fd < 0) continue;
    pid_t pid = fork();
    if (pid == 0) {
      populate(memory, size / sizeof(struct range));
      return forked(env, socket_fd, fd, bytes, (size_t)length);
    }
    if (pid < 0) dprintf(fd, "fork: %s", strerrordesc_np(errno));
    close(fd);
  }
}

/*
 * The command line that others see: where the arguments of the exec lie (proc_pid_stat(5), arg_start and arg_end), the
 * rest being zeros. What doesn't fit is cut off.
 */
static napi_value n_set_command_line(napi_env env, napi_callback_info info) {
  ARGS(1);
  __attribute__((cleanup(free_strings))) char **args = get_strings(env, argv[0]);
  if (args == NULL) return NULL;
  char text[2048];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length < 0) return fail(env, "read", "/proc/self/stat");
  text[length] = '\0';
  const char *field = strrchr(text, ')'); /* the second */
  for (int n = 2; field != NULL && n < 48; n++) field = strchr(field + 1, ' ');
  unsigned long start, end;
  if (field == NULL || sscanf(field, "%lu %lu", &start, &end) != 2 || start == 0)
    return fail_with(env, ENOTSUP, "read", "/proc/self/stat");
  char *next = (char *)start;
  memset(next, 0, end - start);
  for (char **arg = args; *arg != NULL && (unsigned long)next + strlen(*arg) < end; arg++)
    next = stpcpy(next, *arg) + 1;
  return undefined(env);
}

static napi_value n_pidfd_open(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(pid, 0);
  return result(env, syscall(SYS_pidfd_open, pid, 0), "pidfd_open", NULL);
}

static napi_value n_pidfd_send_signal(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  INT(signal_number, 1);
  return done(env, (int)syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0), "pidfd_send_signal", NULL);
}

static napi_value n_cap_effective(napi_env env, napi_callback_info info) {
  (void)info;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2] = {0};
  if (syscall(SYS_capget, &header, data) < 0) return fail(env, "capget", NULL);
  napi_value value;
  napi_create_bigint_uint64(env, ((uint64_t)data[1].effective << 32) | data[0].effective, &value);
  return value;
}

/* ---- files ---- */

static napi_value n_open(napi_env env, napi_callback_info info) {
  ARGS(3);
  STRING(path, 0);
  INT(flags, 1);
  INT(mode, 2);
  return result(env, open(path, flags | O_CLOEXEC, (mode_t)mode), "open", path);
}

static napi_value n_openat2(napi_env env, napi_callback_info info) {
  ARGS(5);
  INT(dirfd, 0);
  STRING(path, 1);
  INT64(flags, 2);
  INT64(mode, 3);
  INT64(resolve, 4);
  struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .mode = (uint64_t)mode, .resolve = (uint64_t)resolve};
  return result(env, syscall(SYS_openat2, dirfd, path, &how, sizeof how), "openat2", path);
}

static napi_value n_close(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  return done(env, close(fd), "close", NULL);
}

/*
 * What `fd` holds from here on, in `bytes` of `size`, which grows; its length, or -1 with errno. With `once`, what it holds
 * from its beginning, wherever its position is, in files that come whole or fill the buffer.
 */
static ssize_t read_to_end(int fd, bool once, char **bytes, size_t *size) {
  size_t length = 0;
  for (;;) {
    if (length == *size) {
      char *larger = realloc(*bytes, *size == 0 ? 4096 : *size * 2);
      if (larger == NULL) return -1;
      *size = *size == 0 ? 4096 : *size * 2;
      *bytes = larger;
    }
    size_t room = *size - length;
    ssize_t rc = once ? pread(fd, *bytes + length, room, (off_t)length) : read(fd, *bytes + length, room);
    if (rc < 0 && errno == EINTR) continue;
    if (rc < 0) return rc;
    length += (size_t)rc;
    if (rc == 0 || (once && (size_t)rc < room)) return (ssize_t)length;
  }
}

static napi_value n_read_all(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  AUTO_STRING bytes = NULL;
  size_t size = 0;
  ssize_t length = read_to_end((int)fd, false, &bytes, &size);
  if (length < 0) return fail(env, "read", NULL);
  napi_value buffer = NULL;
  napi_create_buffer_copy(env, (size_t)length, bytes, NULL, &buffer);
  return buffer;
}

/* EOPNOTSUPP where a file system can't tell what it has in memory. */
static napi_value n_read_cached(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(fd, 0);
  INT64(position, 2);
  struct iovec into;
  if (napi_get_buffer_info(env, argv[1], &into.iov_base, &into.iov_len) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a Buffer is required");
    return NULL;
  }
  ssize_t length;
  do length = preadv2(fd, &into, 1, position, RWF_NOWAIT);
  while (length < 0 && errno == EINTR);
  if (length < 0 && (errno == EAGAIN || errno == EOPNOTSUPP)) return null(env);
  return length < 0 ? fail(env, "preadv2", NULL) : number(env, length);
}

/*
 * Files that the kernel makes up: statistics read a thousand of them for each look at a full node. To open one takes three
 * times as long as to read it. To open the folder first is worth it from the second file on.
 */
static napi_value n_read_small(napi_env env, napi_callback_info info) {
  ARGS(3);
  STRING(folder, 0);
  uint32_t count = 0;
  napi_value texts;
  if (napi_get_array_length(env, argv[1], &count) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "names are required");
    return NULL;
  }
  napi_typedarray_type type;
  size_t places = 0;
  int32_t *kept = NULL;
  if (napi_get_typedarray_info(env, argv[2], &type, &places, (void **)&kept, NULL, NULL) != napi_ok) kept = NULL;
  if (kept != NULL && (type != napi_int32_array || places < count)) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "an Int32Array with a place for each name is required");
    return NULL;
  }
  bool by_path = count == 1 || kept != NULL;
  int folder_fd = by_path ? AT_FDCWD : open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd == -1 && errno != ENOENT) return fail(env, "open", folder);
  napi_create_array_with_length(env, count, &texts);
  AUTO_STRING bytes = NULL;
  size_t size = 0;
  int err = 0;
  for (uint32_t i = 0; i < count && err == 0; i++) {
    napi_value element, text = undefined(env);
    int fd = kept != NULL ? kept[i] : -1;
    if (fd < 0) {
      napi_get_element(env, argv[1], i, &element);
      AUTO_STRING name = get_string(env, element);
      if (name == NULL) break;
      char path[PATH_MAX];
      snprintf(path, sizeof path, by_path ? "%s/%s" : "%.0s%s", folder, name);
      fd = folder_fd == -1 ? -1 : openat(folder_fd, path, O_RDONLY | O_CLOEXEC);
    }
    ssize_t length = fd < 0 ? -1 : read_to_end(fd, kept != NULL, &bytes, &size);
    if (length < 0) err = folder_fd == -1 ? ENOENT : errno;
    if (fd >= 0 && (kept == NULL || length < 0)) {
      close(fd);
      fd = -1;
    }
    if (kept != NULL) kept[i] = fd;
    if (err == ENOENT || err == ENODEV || err == ESRCH || err == EOPNOTSUPP) err = 0;
    if (length >= 0) {
      while (length > 0 && isspace((unsigned char)bytes[length - 1])) length--;
      napi_create_string_latin1(env, bytes, (size_t)length, &text);
    }
    napi_set_element(env, texts, i, text);
  }
  if (folder_fd >= 0) close(folder_fd);
  return err != 0 ? fail_with(env, err, "read", folder) : texts;
}

static napi_value n_write_all(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  void *data = NULL;
  size_t length = 0, written = 0;
  if (napi_get_buffer_info(env, argv[1], &data, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a Buffer is required");
    return NULL;
  }
  while (written < length) {
    ssize_t rc = write(fd, (char *)data + written, length - written);
    if (rc < 0 && errno == EINTR) continue;
    if (rc < 0) return fail(env, "write", NULL);
    written += (size_t)rc;
  }
  return undefined(env);
}

static napi_value n_file_mode(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  struct stat status;
  return stat(path, &status) < 0 ? fail(env, "stat", path) : number(env, status.st_mode);
}

static napi_value names_in(napi_env env, napi_callback_info info, bool folders_only) {
  ARGS(1);
  STRING(path, 0);
  DIR *folder = opendir(path);
  if (folder == NULL) return fail(env, "opendir", path);
  napi_value array;
  napi_create_array(env, &array);
  uint32_t index = 0;
  for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (folders_only && entry->d_type != DT_DIR) continue;
    napi_value name;
    napi_create_string_utf8(env, entry->d_name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, array, index++, name);
  }
  closedir(folder);
  return array;
}

static napi_value n_names(napi_env env, napi_callback_info info) { return names_in(env, info, false); }

static napi_value n_folders(napi_env env, napi_callback_info info) { return names_in(env, info, true); }

static napi_value n_mkdir(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  INT(mode, 1);
  return done(env, mkdir(path, (mode_t)mode), "mkdir", path);
}

static napi_value n_rename(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(from, 0);
  STRING(to, 1);
  return done(env, rename(from, to), "rename", from);
}

/** Lets two names change what they stand for, in one step. */
static napi_value n_exchange(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(one, 0);
  STRING(other, 1);
  return done(env, renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE), "renameat2", one);
}

static napi_value n_unlink(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  return done(env, unlink(path), "unlink", path);
}

static napi_value n_rmdir(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  return done(env, rmdir(path), "rmdir", path);
}

static napi_value n_fchown(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(fd, 0);
  INT64(uid, 1);
  INT64(gid, 2);
  return done(env, fchown(fd, (uid_t)uid, (gid_t)gid), "fchown", NULL);
}

static napi_value n_dup(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  return result(env, fcntl(fd, F_DUPFD_CLOEXEC, 3), "fcntl", NULL);
}

static napi_value fd_pair(napi_env env, const int fds[2]) {
  napi_value array;
  napi_create_array_with_length(env, 2, &array);
  napi_set_element(env, array, 0, number(env, fds[0]));
  napi_set_element(env, array, 1, number(env, fds[1]));
  return array;
}

static napi_value n_pipe(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(flags, 0);
  int fds[2];
  if (pipe2(fds, flags | O_CLOEXEC) < 0) return fail(env, "pipe2", NULL);
  return fd_pair(env, fds);
}

static napi_value n_memfd(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(name, 0);
  return result(env, memfd_create(name, MFD_CLOEXEC), "memfd_create", NULL);
}

static napi_value set_fd_flag(napi_env env, napi_callback_info info, int get, int set, int flag) {
  ARGS(2);
  INT(fd, 0);
  BOOL(on, 1);
  int flags = fcntl(fd, get);
  if (flags < 0) return fail(env, "fcntl", NULL);
  return done(env, fcntl(fd, set, on ? flags | flag : flags & ~flag), "fcntl", NULL);
}

static napi_value n_set_nonblock(napi_env env, napi_callback_info info) {
  return set_fd_flag(env, info, F_GETFL, F_SETFL, O_NONBLOCK);
}

static napi_value n_set_cloexec(napi_env env, napi_callback_info info) {
  return set_fd_flag(env, info, F_GETFD, F_SETFD, FD_CLOEXEC);
}

static napi_value n_fionread(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  int bytes = 0;
  return ioctl(fd, FIONREAD, &bytes) < 0 ? fail(env, "ioctl", NULL) : number(env, bytes);
}

static napi_value n_set_pipe_size(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  INT(bytes, 1);
  return result(env, fcntl(fd, F_SETPIPE_SZ, bytes), "fcntl", NULL);
}

static napi_value n_flock(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  INT(operation, 1);
  if (flock(fd, operation | LOCK_NB) == 0) return napi_get_boolean(env, true, &argv[0]), argv[0];
  if (errno == EWOULDBLOCK) return napi_get_boolean(env, false, &argv[0]), argv[0];
  return fail(env, "flock", NULL);
}

static napi_value n_splice(napi_env env, napi_callback_info info) {
  ARGS(4);
  INT(fd_in, 0);
  INT(fd_out, 1);
  INT64(length, 2);
  INT(flags, 3);
  ssize_t rc;
  do rc = splice(fd_in, NULL, fd_out, NULL, (size_t)length, (unsigned)flags);
  while (rc < 0 && errno == EINTR);
  return rc < 0 && errno == EAGAIN ? number(env, -1) : result(env, rc, "splice", NULL);
}

static napi_value n_seek(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  INT64(offset, 1);
  return result(env, lseek(fd, offset, SEEK_SET), "lseek", NULL);
}

static napi_value n_punch_hole(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(fd, 0);
  INT64(offset, 1);
  INT64(length, 2);
  return done(env, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length), "fallocate", NULL);
}

static napi_value n_syncfs(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  return done(env, syncfs(fd), "syncfs", NULL);
}

static napi_value n_mkfifo(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  INT(mode, 1);
  return done(env, mkfifo(path, (mode_t)mode), "mkfifo", path);
}

static napi_value n_mknod(napi_env env, napi_callback_info info) {
  ARGS(4);
  STRING(path, 0);
  INT(mode, 1);
  INT(major_number, 2);
  INT(minor_number, 3);
  dev_t device = makedev((unsigned)major_number, (unsigned)minor_number);
  return done(env, mknod(path, (mode_t)mode, device), "mknod", path);
}

static napi_value n_lutimens(napi_env env, napi_callback_info info) {
  ARGS(5);
  STRING(path, 0);
  INT64(atime_s, 1);
  INT64(atime_ns, 2);
  INT64(mtime_s, 3);
  INT64(mtime_ns, 4);
  struct timespec times[2] = {{atime_s, atime_ns}, {mtime_s, mtime_ns}};
  return done(env, utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), "utimensat", path);
}

static napi_value n_lsetxattr(napi_env env, napi_callback_info info) {
  ARGS(4);
  STRING(path, 0);
  STRING(name, 1);
  INT(flags, 3);
  void *data = NULL;
  size_t length = 0;
  if (napi_get_buffer_info(env, argv[2], &data, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a Buffer is required");
    return NULL;
  }
  return done(env, lsetxattr(path, name, data, length, flags), "lsetxattr", path);
}

static napi_value n_lremovexattr(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  STRING(name, 1);
  return done(env, lremovexattr(path, name), "lremovexattr", path);
}

static napi_value n_lgetxattr(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  STRING(name, 1);
  char value[65536]; /* XATTR_SIZE_MAX */
  ssize_t length = lgetxattr(path, name, value, sizeof value);
  if (length < 0) return errno == ENODATA ? null(env) : fail(env, "lgetxattr", path);
  napi_value buffer;
  napi_create_buffer_copy(env, (size_t)length, value, NULL, &buffer);
  return buffer;
}

static napi_value n_llistxattr(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  char names[65536];
  ssize_t length = llistxattr(path, names, sizeof names);
  if (length < 0) return fail(env, "llistxattr", path);
  napi_value array;
  napi_create_array(env, &array);
  uint32_t index = 0;
  for (char *name = names; name < names + length; name += strlen(name) + 1) {
    napi_value text;
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, array, index++, text);
  }
  return array;
}

static napi_value n_chroot(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  if (chroot(path) < 0) return fail(env, "chroot", path);
  return done(env, chdir("/"), "chdir", "/");
}

static napi_value n_fchroot(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  if (fchdir(fd) < 0) return fail(env, "fchdir", NULL);
  return done(env, chroot("."), "chroot", NULL);
}

/* ---- mounts ---- */

/* Only the calling thread: others stay where they are. The new namespace tells its mounts to nobody. */
static napi_value n_unshare_mounts(napi_env env, napi_callback_info info) {
  (void)info;
  if (unshare(CLONE_NEWNS) < 0) return fail(env, "unshare", NULL);
  return done(env, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount", "/");
}

/* A free loop device for a file: its open descriptor, or -1. Another may take the device first; then there is a next. */
static int attach_loop(int backing, bool read_only, char device[32]) {
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control < 0) return -1;
  int loop = -1;
  for (int attempt = 0; attempt < 64; attempt++) {
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) break;
    snprintf(device, 32, "/dev/loop%d", number);
    loop = open(device, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (loop < 0) break;
    struct loop_config config = {.fd = (unsigned)backing};
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
    if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) break;
    int err = errno;
    close(loop);
    loop = -1;
    errno = err;
    if (err != EBUSY) break;
  }
  int err = errno;
  close(control);
  errno = err;
  return loop;
}

static napi_value n_loop_attach(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  BOOL(read_only, 1);
  int backing = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (backing < 0) return fail(env, "open", path);
  char device[32];
  int loop = attach_loop(backing, read_only, device);
  int err = errno;
  close(backing);
  if (loop < 0) return fail_with(env, err, "loop", path);
  napi_value result, fd, name;
  napi_create_array_with_length(env, 2, &result);
  napi_create_int32(env, loop, &fd);
  napi_create_string_utf8(env, device, NAPI_AUTO_LENGTH, &name);
  napi_set_element(env, result, 0, fd);
  napi_set_element(env, result, 1, name);
  return result;
}

struct mount_call {
  const char *cwd, *source, *target, *fstype, *data;
  unsigned long flags;
  int err;
};

/* A thread of its own, because unshare(CLONE_FS) gives it a working directory of its own. */
static void *mount_in_directory(void *argument) {
  struct mount_call *call = argument;
  bool ok = unshare(CLONE_FS) == 0 && chdir(call->cwd) == 0 &&
            mount(call->source, call->target, call->fstype, call->flags, call->data) == 0;
  call->err = ok ? 0 : errno;
  return NULL;
}

static napi_value n_mount(napi_env env, napi_callback_info info) {
  ARGS(6);
  OPTIONAL_STRING(source, 0);
  STRING(target, 1);
  OPTIONAL_STRING(fstype, 2);
  INT64(flags, 3);
  OPTIONAL_STRING(data, 4);
  OPTIONAL_STRING(cwd, 5);
  if (cwd == NULL) return done(env, mount(source, target, fstype, (unsigned long)flags, data), "mount", target);
  struct mount_call call = {cwd, source, target, fstype, data, (unsigned long)flags, 0};
  pthread_t thread;
  int err = pthread_create(&thread, NULL, mount_in_directory, &call);
  if (err != 0) return fail_with(env, err, "pthread_create", NULL);
  pthread_join(thread, NULL);
  return call.err != 0 ? fail_with(env, call.err, "mount", target) : undefined(env);
}

static napi_value n_umount(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(target, 0);
  INT(flags, 1);
  return done(env, umount2(target, flags), "umount", target);
}

static napi_value n_bind_idmapped(napi_env env, napi_callback_info info) {
  ARGS(4);
  STRING(source, 0);
  STRING(target, 1);
  INT(userns, 2);
  BOOL(read_only, 3);
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP | (read_only ? MOUNT_ATTR_RDONLY : 0),
                                  .propagation = MS_PRIVATE,
                                  .userns_fd = (uint64_t)userns};
  int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (tree < 0) return fail(env, "open_tree", source);
  const char *step = "mount_setattr", *path = source;
  int rc = mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
  if (rc == 0) {
    step = "move_mount", path = target;
    rc = move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  }
  int err = errno;
  close(tree);
  return rc < 0 ? fail_with(env, err, step, path) : undefined(env);
}

static bool write_map(pid_t pid, const char *name, const char *map) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = write(fd, map, strlen(map)) == (ssize_t)strlen(map);
  int err = errno;
  close(fd);
  errno = err;
  return ok;
}

/* A namespace lives as long as somebody is in it or holds it: a child is in it until we hold it. */
static napi_value n_user_namespace(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(uid_map, 0);
  STRING(gid_map, 1);
  /* Without an exit signal, nobody who collects children is told of it. */
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, NULL);
  if (pid < 0) return fail(env, "clone", NULL);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (;;) poll(NULL, 0, -1);
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
  const char *step = "uid_map";
  int fd = -1;
  if (write_map(pid, "uid_map", uid_map) && (step = "gid_map", write_map(pid, "gid_map", gid_map)))
    step = "open", fd = open(path, O_RDONLY | O_CLOEXEC);
  int err = errno;
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) {
  }
  return fd < 0 ? fail_with(env, err, step, NULL) : number(env, fd);
}

/* ---- threads ---- */

/* Detached, with a small stack, and deaf to signals: those are the main thread's. */
static int start_thread(void *(*run)(void *), void *argument) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 64 * 1024);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = pthread_create(&thread, &attributes, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return err;
}

/* ---- network namespaces ---- */

struct netns_call {
  napi_deferred deferred;
  napi_threadsafe_function settle;
  char *path;
  const char *step;
  int err;
};

static int loopback_up(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int rc = ioctl(fd, SIOCGIFFLAGS, &request);
  request.ifr_flags |= IFF_UP;
  if (rc == 0) rc = ioctl(fd, SIOCSIFFLAGS, &request);
  int err = errno;
  close(fd);
  errno = err;
  return rc;
}

/* unshare changes the calling thread for good, so the thread ends with the call. */
static void *netns_thread(void *argument) {
  struct netns_call *call = argument;
  bool created = false, ok = false;
  call->step = "open";
  int fd = open(call->path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (fd >= 0) {
    created = true;
    close(fd);
    call->step = "unshare";
    if (unshare(CLONE_NEWNET) == 0) {
      call->step = "ioctl";
      if (loopback_up() == 0) {
        call->step = "mount";
        ok = mount("/proc/thread-self/ns/net", call->path, NULL, MS_BIND, NULL) == 0;
      }
    }
  }
  call->err = ok ? 0 : errno;
  if (!ok && created) unlink(call->path);
  napi_call_threadsafe_function(call->settle, call, napi_tsfn_blocking);
  return NULL;
}

static void netns_settle(napi_env env, napi_value callback, void *context, void *data) {
  (void)callback;
  (void)context;
  struct netns_call *call = data;
  if (env != NULL) {
    if (call->err == 0)
      napi_resolve_deferred(env, call->deferred, undefined(env));
    else
      napi_reject_deferred(env, call->deferred, make_error(env, call->err, call->step, call->path));
  }
  napi_release_threadsafe_function(call->settle, napi_tsfn_release);
  free(call->path);
  free(call);
}

static napi_value n_netns_create(napi_env env, napi_callback_info info) {
  ARGS(1);
  AUTO_STRING path = get_string(env, argv[0]);
  if (path == NULL) return NULL;
  struct netns_call *call = calloc(1, sizeof *call);
  if (call == NULL) return fail_with(env, ENOMEM, "malloc", NULL);
  napi_value promise, name;
  napi_create_string_utf8(env, "netnsCreate", NAPI_AUTO_LENGTH, &name);
  napi_create_promise(env, &call->deferred, &promise);
  napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, NULL, NULL, NULL, netns_settle, &call->settle);
  call->path = path;
  path = NULL; /* now the call's */
  int err = start_thread(netns_thread, call);
  if (err != 0) {
    call->step = "pthread_create";
    call->err = err;
    napi_call_threadsafe_function(call->settle, call, napi_tsfn_blocking);
  }
  return promise;
}

static napi_value n_netns_delete(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  if (umount2(path, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT) return fail(env, "umount", path);
  if (unlink(path) < 0 && errno != ENOENT) return fail(env, "unlink", path);
  return undefined(env);
}

/* ---- connections inside a network namespace ---- */

struct connect_call {
  napi_deferred deferred;
  napi_threadsafe_function settle;
  char *netns;
  int port;
  const char *step;
  int fd;
  int err;
};

#define CONNECT_SECONDS 10

static int connect_loopback(int family, int port) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  /* bounds connect(2), too */
  struct timeval limit = {.tv_sec = CONNECT_SECONDS};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4) : connect(fd, (struct sockaddr *)&v6, sizeof v6);
  if (rc == 0) {
    limit.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
  }
  int err = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
  close(fd);
  errno = err;
  return -1;
}

/* setns changes the calling thread for good, so the thread ends with the call. */
static void *connect_thread(void *argument) {
  struct connect_call *call = argument;
  bool there = true;
  if (call->netns != NULL) {
    call->step = "setns";
    int ns = open(call->netns, O_RDONLY | O_CLOEXEC);
    there = ns >= 0 && setns(ns, CLONE_NEWNET) == 0;
    call->err = errno;
    if (ns >= 0) close(ns);
  }
  if (there) {
    call->step = "connect";
    call->fd = connect_loopback(AF_INET, call->port);
    if (call->fd < 0) {
      call->err = errno;
      call->fd = connect_loopback(AF_INET6, call->port);
    }
  }
  napi_call_threadsafe_function(call->settle, call, napi_tsfn_blocking);
  return NULL;
}

static void connect_settle(napi_env env, napi_value callback, void *context, void *data) {
  (void)callback;
  (void)context;
  struct connect_call *call = data;
  if (env == NULL) {
    if (call->fd >= 0) close(call->fd);
  } else if (call->fd >= 0) {
    napi_resolve_deferred(env, call->deferred, number(env, call->fd));
  } else {
    napi_reject_deferred(env, call->deferred, make_error(env, call->err, call->step, call->netns));
  }
  napi_release_threadsafe_function(call->settle, napi_tsfn_release);
  free(call->netns);
  free(call);
}

static napi_value n_connect_loopback(napi_env env, napi_callback_info info) {
  ARGS(2);
  OPTIONAL_STRING(netns, 0);
  INT(port, 1);
  struct connect_call *call = calloc(1, sizeof *call);
  if (call == NULL) return fail_with(env, ENOMEM, "malloc", NULL);
  napi_value promise, name;
  napi_create_string_utf8(env, "connectLoopback", NAPI_AUTO_LENGTH, &name);
  napi_create_promise(env, &call->deferred, &promise);
  napi_create_threadsafe_function(env, NULL, NULL, name, 0, 1, NULL, NULL, NULL, connect_settle, &call->settle);
  call->netns = netns;
  call->port = port;
  call->fd = -1;
  netns = NULL; /* now the call's */
  int err = start_thread(connect_thread, call);
  if (err != 0) {
    call->step = "pthread_create";
    call->err = err;
    napi_call_threadsafe_function(call->settle, call, napi_tsfn_blocking);
  }
  return promise;
}

/* ---- terminals and sockets ---- */

static napi_value n_tiocswinsz(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(fd, 0);
  INT(rows, 1);
  INT(columns, 2);
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  return done(env, ioctl(fd, TIOCSWINSZ, &size), "ioctl", NULL);
}

static int unix_address(struct sockaddr_un *address, const char *path) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address->sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(address->sun_path, path);
  return 0;
}

static napi_value n_unix_listen(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  INT(mode, 1);
  struct sockaddr_un address;
  if (unix_address(&address, path) < 0) return fail(env, "bind", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(env, "socket", path);
  const char *step = "fchmod";
  int rc = fchmod(fd, (mode_t)mode); /* bind gives the file the socket's mode: never open wider */
  if (rc == 0) step = "bind", rc = bind(fd, (struct sockaddr *)&address, sizeof address);
  if (rc == 0) step = "listen", rc = listen(fd, 8);
  if (rc == 0) return number(env, fd);
  int err = errno;
  close(fd);
  return fail_with(env, err, step, path);
}

static napi_value n_unix_connect(napi_env env, napi_callback_info info) {
  ARGS(1);
  STRING(path, 0);
  struct sockaddr_un address;
  if (unix_address(&address, path) < 0) return fail(env, "connect", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(env, "socket", path);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return number(env, fd);
  int err = errno;
  close(fd);
  return fail_with(env, err, "connect", path);
}

static napi_value n_unix_accept(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (connection < 0 && errno == EAGAIN) return null(env);
  return result(env, connection, "accept", NULL);
}

static napi_value n_recv_fd(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(socket_fd, 0);
  char byte[4096]; /* runc sends the name of the terminal along */
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec vector = {.iov_base = byte, .iov_len = sizeof byte};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  ssize_t rc;
  do rc = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
  while (rc < 0 && errno == EINTR);
  if (rc < 0) return errno == EAGAIN ? null(env) : fail(env, "recvmsg", NULL);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
    return fail_with(env, ENOMSG, "recvmsg", NULL);
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return number(env, fd);
}

static napi_value n_packet_pair(napi_env env, napi_callback_info info) {
  (void)info;
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) return fail(env, "socketpair", NULL);
  return fd_pair(env, fds);
}

static napi_value n_send_fd(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(socket_fd, 0);
  STRING(text, 1);
  INT(fd, 2);
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec vector = {.iov_base = text, .iov_len = strlen(text)};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  ssize_t rc;
  do rc = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (rc < 0 && errno == EINTR);
  return done(env, (int)rc, "sendmsg", NULL);
}

static napi_value n_sd_notify(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  STRING(text, 1);
  struct sockaddr_un address;
  if (unix_address(&address, path) < 0) return fail(env, "sendto", path);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
  if (path[0] == '@') address.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(env, "socket", path);
  ssize_t rc = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, length);
  int err = errno;
  close(fd);
  return rc < 0 ? fail_with(env, err, "sendto", path) : undefined(env);
}

/* ---- a terminal's copier ---- */

struct stream_buffer {
  size_t start, end;
  char bytes[8192];
};

struct console {
  int terminal, in, out, stop;
  napi_threadsafe_function ended;
};

/* One read into an empty buffer; false at the end of the stream. */
static bool fill(int fd, struct stream_buffer *buffer) {
  ssize_t length = read(fd, buffer->bytes, sizeof buffer->bytes);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  buffer->start = 0;
  buffer->end = length > 0 ? (size_t)length : 0;
  return length > 0;
}

/* One write; what no one will ever read is dropped. */
static void drain(int fd, struct stream_buffer *buffer) {
  ssize_t length = write(fd, buffer->bytes + buffer->start, buffer->end - buffer->start);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  buffer->start = length < 0 ? buffer->end : buffer->start + (size_t)length;
}

/*
 * Copies until the terminal has hung up and its output is written, or until `stop` is signalled.
 * A descriptor that isn't waited for is left out of the poll, because a hang-up is always reported.
 */
static void *console_thread(void *argument) {
  struct console *console = argument;
  struct stream_buffer input = {0}, output = {0};
  bool open = true;
  for (;;) {
    bool have_input = input.start < input.end, have_output = output.start < output.end;
    if (!open && !have_output) break;
    short terminal_events = (short)((open && !have_output ? POLLIN : 0) | (open && have_input ? POLLOUT : 0));
    struct pollfd polled[] = {
        {.fd = console->stop, .events = POLLIN},
        {.fd = terminal_events != 0 ? console->terminal : -1, .events = terminal_events},
        {.fd = open && !have_input ? console->in : -1, .events = POLLIN},
        {.fd = have_output ? console->out : -1, .events = POLLOUT},
    };
    if (poll(polled, 4, -1) < 0 && errno != EINTR) break;
    if (polled[0].revents != 0) break;
    if (polled[3].revents != 0) drain(console->out, &output);
    if (polled[1].revents != 0 && have_input) drain(console->terminal, &input);
    if (polled[1].revents != 0 && !have_output) {
      open = fill(console->terminal, &output);
      if (console->out < 0) output.start = output.end;
    }
    if (polled[2].revents != 0 && !fill(console->in, &input)) {
      close(console->in);
      console->in = -1;
    }
  }
  close(console->terminal);
  if (console->in >= 0) close(console->in);
  if (console->out >= 0) close(console->out);
  close(console->stop);
  napi_threadsafe_function ended = console->ended;
  free(console);
  napi_call_threadsafe_function(ended, NULL, napi_tsfn_blocking);
  napi_release_threadsafe_function(ended, napi_tsfn_release);
  return NULL;
}

static int own_copy(int fd) { return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3); }

static napi_value n_console_copy(napi_env env, napi_callback_info info) {
  ARGS(5);
  INT(terminal, 0);
  INT(in, 1);
  INT(out, 2);
  INT(stop, 3);
  struct console *console = malloc(sizeof *console);
  if (console == NULL) return fail_with(env, ENOMEM, "malloc", NULL);
  *console = (struct console){own_copy(terminal), own_copy(in), own_copy(out), own_copy(stop), NULL};
  napi_value name;
  napi_create_string_utf8(env, "consoleCopy", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, argv[4], NULL, name, 0, 1, NULL, NULL, NULL, NULL, &console->ended);
  int err = start_thread(console_thread, console);
  if (err == 0) return undefined(env);
  napi_release_threadsafe_function(console->ended, napi_tsfn_abort);
  int fds[] = {console->terminal, console->in, console->out, console->stop};
  for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
    if (fds[i] >= 0) close(fds[i]);
  free(console);
  return fail_with(env, err, "pthread_create", NULL);
}

/* ---- waiting on descriptors ---- */

static napi_value n_epoll_create(napi_env env, napi_callback_info info) {
  (void)info;
  return result(env, epoll_create1(EPOLL_CLOEXEC), "epoll_create1", NULL);
}

static napi_value n_epoll_add(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(epoll, 0);
  INT(fd, 1);
  INT64(events, 2);
  struct epoll_event event = {.events = (uint32_t)events, .data.fd = fd};
  return done(env, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl", NULL);
}

static napi_value n_epoll_mod(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(epoll, 0);
  INT(fd, 1);
  INT64(events, 2);
  struct epoll_event event = {.events = (uint32_t)events, .data.fd = fd};
  return done(env, epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event), "epoll_ctl", NULL);
}

static napi_value n_epoll_del(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(epoll, 0);
  INT(fd, 1);
  return done(env, epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), "epoll_ctl", NULL);
}

#define EPOLL_BATCH 256

static napi_value n_epoll_wait(napi_env env, napi_callback_info info) {
  ARGS(3);
  INT(epoll, 0);
  INT(timeout, 1);
  napi_typedarray_type type;
  size_t length = 0;
  int32_t *out = NULL;
  if (napi_get_typedarray_info(env, argv[2], &type, &length, (void **)&out, NULL, NULL) != napi_ok ||
      type != napi_int32_array || length < 2) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "an Int32Array of at least 2 elements is required");
    return NULL;
  }
  struct epoll_event events[EPOLL_BATCH];
  int room = length / 2 > EPOLL_BATCH ? EPOLL_BATCH : (int)(length / 2);
  int count = epoll_wait(epoll, events, room, timeout);
  if (count < 0 && errno == EINTR) count = 0;
  for (int i = 0; i < count; i++) {
    out[2 * i] = events[i].data.fd;
    out[2 * i + 1] = (int32_t)events[i].events;
  }
  return result(env, count, "epoll_wait", NULL);
}

/* Without the C library, whose errno is the calling thread's own: this one has none. Answers -errno. */
static long bare_call(long number, long a, long b, long c, long d, long e) {
#if defined(__x86_64__)
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#else
#error "no system calls known for this architecture"
#endif
}

struct watch {
  long outer;
  long signal_number;
  long process;
  long thread;
};

/* Lives as long as the process. A call that fails for a moment (stopped, continued) is made again. */
static int watch_loop(void *argument) {
  const struct watch *watch = argument;
  struct epoll_event event;
  for (;;) {
    /* Without a mask: not every architecture has epoll_wait. */
    long count = bare_call(SYS_epoll_pwait, watch->outer, (long)&event, 1, -1, 0);
    if (count == 1) bare_call(SYS_tgkill, watch->process, watch->thread, watch->signal_number, 0, 0);
  }
  return 0;
}

/*
 * A thread of the C library's would take 32 KiB for its stack, with room there for what every thread keeps of each
 * library, and as much again in the allocator when it calls back. This one has a stack of 1 KiB, calls nothing, and
 * sends a signal. It waits for the epoll by another one, edge-triggered, so that it is woken once for what is ready and
 * not again until the next descriptor is.
 */
static napi_value n_epoll_watch(napi_env env, napi_callback_info info) {
  static struct watch watch = {.outer = -1};
  static char stack[1024] __attribute__((aligned(16)));
  ARGS(1);
  INT(signal_number, 0);
  if (watch.outer >= 0) return fail_with(env, EBUSY, "clone", NULL);
  int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  sigset_t all, before;
  sigfillset(&all);
  if (inner >= 0 && outer >= 0 && epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event) == 0) {
    watch = (struct watch){outer, signal_number, getpid(), gettid()};
    int shared = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int thread = clone(watch_loop, stack + sizeof stack, shared, &watch);
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (thread > 0) return number(env, inner);
    watch.outer = -1;
    errno = err;
  }
  napi_value failure = fail(env, "epoll_create1", NULL);
  if (inner >= 0) close(inner);
  if (outer >= 0) close(outer);
  return failure;
}

static napi_value n_recv(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  void *data = NULL;
  size_t length = 0;
  if (napi_get_buffer_info(env, argv[1], &data, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a Buffer is required");
    return NULL;
  }
  ssize_t rc;
  do rc = recv(fd, data, length, MSG_DONTWAIT);
  while (rc < 0 && errno == EINTR);
  return rc < 0 && errno == EAGAIN ? number(env, -1) : result(env, rc, "recv", NULL);
}

static napi_value n_send(napi_env env, napi_callback_info info) {
  ARGS(2);
  INT(fd, 0);
  void *data = NULL;
  size_t length = 0;
  if (napi_get_buffer_info(env, argv[1], &data, &length) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "a Buffer is required");
    return NULL;
  }
  ssize_t rc;
  do rc = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (rc < 0 && errno == EINTR);
  return rc < 0 && errno == EAGAIN ? number(env, -1) : result(env, rc, "send", NULL);
}

static napi_value n_eventfd(napi_env env, napi_callback_info info) {
  (void)info;
  return result(env, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd", NULL);
}

static napi_value n_eventfd_signal(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  int rc = eventfd_write(fd, 1);
  return rc < 0 && errno == EAGAIN ? undefined(env) : done(env, rc, "write", NULL);
}

static napi_value n_eventfd_drain(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  eventfd_t count = 0;
  int rc = eventfd_read(fd, &count);
  return rc < 0 && errno == EAGAIN ? number(env, 0) : result(env, rc < 0 ? rc : (int64_t)count, "read", NULL);
}

static napi_value n_inotify(napi_env env, napi_callback_info info) {
  ARGS(2);
  STRING(path, 0);
  INT64(mask, 1);
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd < 0) return fail(env, "inotify_init1", NULL);
  if (inotify_add_watch(fd, path, (uint32_t)mask) >= 0) return number(env, fd);
  int err = errno;
  close(fd);
  return fail_with(env, err, "inotify_add_watch", path);
}

static napi_value n_discard(napi_env env, napi_callback_info info) {
  ARGS(1);
  INT(fd, 0);
  char bytes[4096];
  ssize_t rc;
  do rc = read(fd, bytes, sizeof bytes);
  while (rc > 0 || (rc < 0 && errno == EINTR));
  return rc < 0 && errno == EAGAIN ? undefined(env) : done(env, (int)rc, "read", NULL);
}

static napi_value n_malloc_trim(napi_env env, napi_callback_info info) {
  (void)info;
  malloc_trim(0);
  return undefined(env);
}

/* ---- the table ---- */

static const struct {
  const char *name;
  napi_callback call;
} functions[] = {
    {"prctlSubreaper", n_prctl_subreaper},
    {"getpid", n_getpid},
    {"setPdeathsig", n_set_pdeathsig},
    {"setsid", n_setsid},
    {"waitpid", n_waitpid},
    {"spawn", n_spawn},
    {"fork", n_fork},
    {"memoryOfFork", n_memory_of_fork},
    {"forkOnRequest", n_fork_on_request},
    {"setCommandLine", n_set_command_line},
    {"pidfdOpen", n_pidfd_open},
    {"pidfdSendSignal", n_pidfd_send_signal},
    {"getCapEffective", n_cap_effective},
    {"open", n_open},
    {"openat2", n_openat2},
    {"close", n_close},
    {"readAll", n_read_all},
    {"readCached", n_read_cached},
    {"readSmall", n_read_small},
    {"writeAll", n_write_all},
    {"fileMode", n_file_mode},
    {"names", n_names},
    {"folders", n_folders},
    {"mkdir", n_mkdir},
    {"rename", n_rename},
    {"exchange", n_exchange},
    {"unlink", n_unlink},
    {"rmdir", n_rmdir},
    {"fchown", n_fchown},
    {"dup", n_dup},
    {"pipe", n_pipe},
    {"memfd", n_memfd},
    {"setNonblock", n_set_nonblock},
    {"setCloexec", n_set_cloexec},
    {"fionread", n_fionread},
    {"setPipeSize", n_set_pipe_size},
    {"flock", n_flock},
    {"splice", n_splice},
    {"seek", n_seek},
    {"punchHole", n_punch_hole},
    {"syncfs", n_syncfs},
    {"mkfifo", n_mkfifo},
    {"mknod", n_mknod},
    {"lutimens", n_lutimens},
    {"lsetxattr", n_lsetxattr},
    {"lremovexattr", n_lremovexattr},
    {"lgetxattr", n_lgetxattr},
    {"llistxattr", n_llistxattr},
    {"chroot", n_chroot},
    {"fchroot", n_fchroot},
    {"unshareMounts", n_unshare_mounts},
    {"loopAttach", n_loop_attach},
    {"mount", n_mount},
    {"umount", n_umount},
    {"bindIdmapped", n_bind_idmapped},
    {"userNamespace", n_user_namespace},
    {"netnsCreate", n_netns_create},
    {"netnsDelete", n_netns_delete},
    {"connectLoopback", n_connect_loopback},
    {"tiocswinsz", n_tiocswinsz},
    {"unixListen", n_unix_listen},
    {"unixConnect", n_unix_connect},
    {"unixAccept", n_unix_accept},
    {"recvFd", n_recv_fd},
    {"packetPair", n_packet_pair},
    {"sendFd", n_send_fd},
    {"sdNotify", n_sd_notify},
    {"consoleCopy", n_console_copy},
    {"epollCreate", n_epoll_create},
    {"epollAdd", n_epoll_add},
    {"epollMod", n_epoll_mod},
    {"epollDel", n_epoll_del},
    {"epollWait", n_epoll_wait},
    {"epollWatch", n_epoll_watch},
    {"recv", n_recv},
    {"send", n_send},
    {"eventfd", n_eventfd},
    {"eventfdSignal", n_eventfd_signal},
    {"eventfdDrain", n_eventfd_drain},
    {"inotify", n_inotify},
    {"discard", n_discard},
    {"mallocTrim", n_malloc_trim},
};

NAPI_MODULE_INIT() {
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function;
    napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
    napi_set_named_property(env, exports, functions[i].name, function);
  }
  return exports;
}
