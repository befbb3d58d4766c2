// Loaded before the C library into one rank of a run: counts the calls that change files of the
// run, and makes one of them fail, or the process die in the middle of it.
//
//   STANLEY_FAULT_DIRECTORY  the run directory: calls on its checkpoints and unfinished files count
//   STANLEY_FAULT_RANK       the rank that counts and suffers
//   STANLEY_FAULT_LOG        a file that gets a line "function path" for each call, and one that
//                            begins with "spoiled" for each call that is spoiled
//   STANLEY_FAULT_CALL       which call to spoil, from 1; none if 0
//   STANLEY_FAULT_KIND       kill: write half, then SIGKILL. EIO, ENOSPC, EOPNOTSUPP: this call fails.
//                            full: this call, and every later one that takes room, fails (ENOSPC).
//                            hang: the first from this call on that takes room never returns.
//   STANLEY_FAULT_READS      so many reads of the run's owner file fail with ESTALE, as where a file
//                            server comes back; each is a line "spoiled read path" of the log
//   STANLEY_FAULT_GONE       a file that goes once it was opened STANLEY_FAULT_OPENINGS times
//   STANLEY_FAULT_LOCKS      if set, every flock() fails with ENOLCK, and is a line of the log
//   STANLEY_FAULT_SLOW       while there is a file of this name, fsync() takes five seconds more
//   STANLEY_FAULT_CLOCK      while there is a file of this name, time() is a minute ahead
//   STANLEY_FAULT_HUP        if set, the library takes HUP for itself before the program begins, as UCX does
// SIGWINCH sets the thread that gets it spinning.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;
static atomic_long reads;
static atomic_long openings;

static const char* setting(const char* name) {
  const char* value = getenv(name);
  return value != NULL ? value : "";
}

static void spin(int number) {
  (void)number;
  for (volatile long turns = 0;; turns = turns + 1) continue;
}

static void do_nothing(int number) { (void)number; }

__attribute__((constructor)) static void take_signals(void) {
  signal(SIGWINCH, spin);
  if (getenv("STANLEY_FAULT_HUP") != NULL) signal(SIGHUP, do_nothing);
}

static int suffers(void) {
  const char* rank = getenv("OMPI_COMM_WORLD_RANK");
  if (rank == NULL) rank = getenv("PMI_RANK");  // of MPICH's mpirun
  return strcmp(rank != NULL ? rank : "0", setting("STANLEY_FAULT_RANK")) == 0;
}

/// Is it a file of the commit protocol?
static int watched(const char* path) {
  const char* directory = setting("STANLEY_FAULT_DIRECTORY");
  const size_t length = strlen(directory);
  if (length == 0 || strncmp(path, directory, length) != 0 || path[length] != '/') return 0;
  const char* rest = path + length;
  return strstr(rest, ".part") != NULL || strncmp(rest, "/checkpoints", 12) == 0;
}

static void note(const char* what, const char* function, const char* path) {
  const char* log = setting("STANLEY_FAULT_LOG");
  if (log[0] == 0) return;
  char line[4200];
  const int length = snprintf(line, sizeof line, "%s%s %s\n", what, function, path);
  const long file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (file < 0 || syscall(SYS_write, file, line, (size_t)length) != length) abort();
  syscall(SYS_close, file);
}

enum Fault { none, fails, dies };

/// What becomes of this call; errno is set where it fails.
static enum Fault fault_of(const char* function, const char* path, int takes_room) {
  const int before = errno;
  if (!suffers() || !watched(path)) return none;
  const long number = atomic_fetch_add(&calls, 1) + 1;
  note("", function, path);
  const long chosen = atol(setting("STANLEY_FAULT_CALL"));
  const char* kind = setting("STANLEY_FAULT_KIND");
  const int hangs = strcmp(kind, "hang") == 0;
  const int later = (hangs || strcmp(kind, "full") == 0) && takes_room && number > chosen;
  const int at_once = number == chosen && !(hangs && !takes_room);
  const int spoiled = chosen != 0 && (at_once || later);
  if (spoiled) note("spoiled ", function, path);
  errno = before;
  if (!spoiled) return none;
  if (strcmp(kind, "kill") == 0) return dies;
  while (hangs) pause();
  errno = strcmp(kind, "EIO") == 0 ? EIO : strcmp(kind, "EOPNOTSUPP") == 0 ? EOPNOTSUPP : ENOSPC;
  return fails;
}

/// The file's path; empty if it has none. Leaves errno alone.
static const char* path_of(int file, char* path, size_t size) {
  char link[64];
  const int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, size - 1);
  errno = before;
  path[length < 0 ? 0 : length] = 0;
  return path;
}

static enum Fault fault_on(const char* function, int file, int takes_room) {
  char path[4096];
  return fault_of(function, path_of(file, path, sizeof path), takes_room);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/// Defines `real`, the function that this one stands before.
#define REAL(result, name, ...)       \
  static result (*real)(__VA_ARGS__); \
  if (real == NULL) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define WRITE(name)                                       \
  ssize_t name(int file, const void* data, size_t size) { \
    REAL(ssize_t, #name, int, const void*, size_t);       \
    const enum Fault fault = fault_on(#name, file, 1);    \
    if (fault == fails) return -1;                        \
    if (fault == none) return real(file, data, size);     \
    real(file, data, size / 2);                           \
    die();                                                \
    return -1;                                            \
  }
WRITE(write)

#define PWRITE(name, offset_type)                                             \
  ssize_t name(int file, const void* data, size_t size, offset_type offset) { \
    REAL(ssize_t, #name, int, const void*, size_t, offset_type);              \
    const enum Fault fault = fault_on(#name, file, 1);                        \
    if (fault == fails) return -1;                                            \
    if (fault == none) return real(file, data, size, offset);                 \
    real(file, data, size / 2, offset);                                       \
    die();                                                                    \
    return -1;                                                                \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset_type)                                                   \
  ssize_t name(int file, const struct iovec* parts, int count, offset_type offset) { \
    REAL(ssize_t, #name, int, const struct iovec*, int, offset_type);                \
    const enum Fault fault = fault_on(#name, file, 1);                               \
    if (fault == fails) return -1;                                                   \
    if (fault == none) return real(file, parts, count, offset);                      \
    real(file, parts, count / 2, offset);                                            \
    die();                                                                           \
    return -1;                                                                       \
  }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

ssize_t writev(int file, const struct iovec* parts, int count) {
  REAL(ssize_t, "writev", int, const struct iovec*, int);
  const enum Fault fault = fault_on("writev", file, 1);
  if (fault == fails) return -1;
  if (fault == none) return real(file, parts, count);
  real(file, parts, count / 2);
  die();
  return -1;
}

#define FTRUNCATE(name, offset_type)                   \
  int name(int file, offset_type size) {               \
    REAL(int, #name, int, offset_type);                \
    const enum Fault fault = fault_on(#name, file, 1); \
    if (fault == fails) return -1;                     \
    if (fault == dies) die();                          \
    return real(file, size);                           \
  }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(name, offset_type)                                   \
  int name(int file, int mode, offset_type offset, offset_type size) { \
    REAL(int, #name, int, int, offset_type, offset_type);              \
    const enum Fault fault = fault_on(#name, file, 1);                 \
    if (fault == fails) return -1;                                     \
    if (fault == dies) die();                                          \
    return real(file, mode, offset, size);                             \
  }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

/// Returns the error's number.
#define POSIX_FALLOCATE(name, offset_type)                   \
  int name(int file, offset_type offset, offset_type size) { \
    REAL(int, #name, int, offset_type, offset_type);         \
    const enum Fault fault = fault_on(#name, file, 1);       \
    if (fault == fails) return errno;                        \
    if (fault == dies) die();                                \
    return real(file, offset, size);                         \
  }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

/// Is there a file of the name that this variable has?
static int is_there(const char* variable) {
  const char* file = setting(variable);
  return file[0] != 0 && access(file, F_OK) == 0;
}

#define ON_FILE(name)                                  \
  int name(int file) {                                 \
    REAL(int, #name, int);                             \
    const enum Fault fault = fault_on(#name, file, 0); \
    if (is_there("STANLEY_FAULT_SLOW")) sleep(5);      \
    if (fault == fails) return -1;                     \
    if (fault == dies) die();                          \
    return real(file);                                 \
  }
ON_FILE(fsync)
ON_FILE(fdatasync)

/// A failing close() still lets the file go, as Linux does.
int close(int file) {
  REAL(int, "close", int);
  const enum Fault fault = fault_on("close", file, 0);
  if (fault == dies) die();
  if (fault == none) return real(file);
  const int error = errno;
  real(file);
  errno = error;
  return -1;
}

/// Counts by `counted`, which of the two has ".part" in its name.
#define ON_PATHS(name, counted)                           \
  int name(const char* from, const char* to) {            \
    REAL(int, #name, const char*, const char*);           \
    const enum Fault fault = fault_of(#name, counted, 0); \
    if (fault == fails) return -1;                        \
    if (fault == dies) die();                             \
    return real(from, to);                                \
  }
ON_PATHS(rename, from)
ON_PATHS(link, from)
ON_PATHS(symlink, to)

#define ON_PATH(name)                                  \
  int name(const char* path) {                         \
    REAL(int, #name, const char*);                     \
    const enum Fault fault = fault_of(#name, path, 0); \
    if (fault == fails) return -1;                     \
    if (fault == dies) die();                          \
    return real(path);                                 \
  }
ON_PATH(remove)
ON_PATH(unlink)

ssize_t read(int file, void* data, size_t size) {
  REAL(ssize_t, "read", int, void*, size_t);
  const long failing = atol(setting("STANLEY_FAULT_READS"));
  if (failing == 0 || !suffers()) return real(file, data, size);
  char path[4096];
  char owner[4096];
  path_of(file, path, sizeof path);
  snprintf(owner, sizeof owner, "%s/owner.json", setting("STANLEY_FAULT_DIRECTORY"));
  if (strcmp(path, owner) != 0 || atomic_fetch_add(&reads, 1) >= failing) return real(file, data, size);
  note("spoiled ", "read", path);
  errno = ESTALE;
  return -1;
}

/// `path` was opened.
static void opened(const char* path) {
  if (strcmp(path, setting("STANLEY_FAULT_GONE")) != 0 || !suffers()) return;
  if (atomic_fetch_add(&openings, 1) + 1 != atol(setting("STANLEY_FAULT_OPENINGS"))) return;
  note("spoiled ", "open", path);
  syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

#define OPEN(name)                               \
  int name(const char* path, int flags, ...) {   \
    REAL(int, #name, const char*, int, ...);     \
    va_list more;                                \
    va_start(more, flags);                       \
    const mode_t mode = va_arg(more, mode_t);    \
    va_end(more);                                \
    const int file = real(path, flags, mode);    \
    const int before = errno;                    \
    if (file >= 0) opened(path);                 \
    errno = before;                              \
    return file;                                 \
  }
OPEN(open)
OPEN(open64)

int flock(int file, int operation) {
  REAL(int, "flock", int, int);
  if (setting("STANLEY_FAULT_LOCKS")[0] == 0 || !suffers()) return real(file, operation);
  char path[4096];
  note("spoiled ", "flock", path_of(file, path, sizeof path));
  errno = ENOLCK;
  return -1;
}

time_t time(time_t* to) {
  REAL(time_t, "time", time_t*);
  const time_t now = real(NULL) + (is_there("STANLEY_FAULT_CLOCK") ? 60 : 0);
  if (to != NULL) *to = now;
  return now;
}
