/* Preloaded before libc: counts, records, kills at or fails the file system calls below one folder.

   A preload needs no right to trace, which containers often withhold, and a forked child is cut within milliseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { OFF, COUNT, KILL_BEFORE, KILL_AFTER, FAIL };

static enum mode mode = OFF;
static long cut_at, error_number;
static atomic_long calls;
static char prefix[PATH_MAX];
static int log_descriptor = -1;
static const char *failed = "";
static char begins_at[32]; /* calls before the first of this kind do not count; empty: all count */

void shim_arm(int new_mode, long at, int number, const char *folder, int log) {
    calls = 0;
    cut_at = at;
    error_number = number;
    log_descriptor = log;
    snprintf(prefix, sizeof prefix, "%s", folder);
    failed = "";
    begins_at[0] = 0;
    mode = new_mode;
}

void shim_begin_at(const char *kind) { snprintf(begins_at, sizeof begins_at, "%s", kind); }

const char *shim_failed(void) { return failed; }

long shim_calls(void) { return calls; }

void shim_note(const char *text) {
    char line[2 * PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%s\n", text);
    if (log_descriptor >= 0) syscall(SYS_write, log_descriptor, line, size);
}

static void name_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[size > 0 ? size : 0] = 0;
}

static void path_of(int folder, const char *name, char *path) {
    if (name[0] == '/' || folder == AT_FDCWD) {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    char parent[PATH_MAX];
    name_of(folder, parent);
    snprintf(path, PATH_MAX, "%.2000s/%.2000s", parent, name);
}

static int mine(const char *path) { return mode != OFF && strncmp(path, prefix, strlen(prefix)) == 0; }

static void record(const char *phase, const char *kind, const char *path, const char *other, long amount) {
    char line[2 * PATH_MAX + 128];
    snprintf(line, sizeof line, "%s\t%ld\t%s\t%s\t%s\t%ld", phase, (long)syscall(SYS_gettid), kind, path, other, amount);
    shim_note(line);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Returns whether the call is to fail; *number is its place in the order of calls. */
static int before(const char *kind, const char *path, const char *other, long *number) {
    if (begins_at[0] && strcmp(begins_at, kind)) return *number = 0;
    begins_at[0] = 0;
    *number = ++calls;
    record("begin", kind, path, other, 0);
    if (mode == KILL_BEFORE && *number == cut_at) die();
    if (mode == FAIL && *number == cut_at) {
        failed = kind;
        errno = (int)error_number;
        return 1;
    }
    return 0;
}

static void after(const char *kind, const char *path, const char *other, long number, long result) {
    int kept = errno;
    record("end", kind, path, other, result);
    if (mode == KILL_AFTER && number == cut_at) die();
    errno = kept;
}

#define AROUND(kind, path, other, call)                        \
    do {                                                       \
        long number_, result_;                                 \
        if (!mine(path)) return (call);                        \
        if (before(kind, path, other, &number_)) return -1;    \
        result_ = (call);                                      \
        after(kind, path, other, number_, result_);            \
        return result_;                                        \
    } while (0)

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int opened(int folder, const char *name, int flags, mode_t bits) {
    char path[PATH_MAX];
    path_of(folder, name, path);
    AROUND(flags & O_CREAT ? "create" : "open", path, "", (int)syscall(SYS_openat, folder, name, flags | O_LARGEFILE, bits));
}

#define BITS                                \
    mode_t bits = 0;                        \
    if (flags & (O_CREAT | O_TMPFILE)) {    \
        va_list rest;                       \
        va_start(rest, flags);              \
        bits = va_arg(rest, mode_t);        \
        va_end(rest);                       \
    }

int open(const char *name, int flags, ...) { BITS return opened(AT_FDCWD, name, flags, bits); }
int open64(const char *name, int flags, ...) { BITS return opened(AT_FDCWD, name, flags, bits); }
int openat(int folder, const char *name, int flags, ...) { BITS return opened(folder, name, flags, bits); }
int openat64(int folder, const char *name, int flags, ...) { BITS return opened(folder, name, flags, bits); }

#define ON_DESCRIPTOR(kind, call) \
    char path[PATH_MAX];          \
    if (mode == OFF) return (call); \
    name_of(descriptor, path);    \
    AROUND(kind, path, "", call)

ssize_t write(int descriptor, const void *data, size_t size) { ON_DESCRIPTOR("write", syscall(SYS_write, descriptor, data, size)); }
ssize_t writev(int descriptor, const struct iovec *parts, int number) { ON_DESCRIPTOR("write", syscall(SYS_writev, descriptor, parts, number)); }
ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) { ON_DESCRIPTOR("write", syscall(SYS_pwrite64, descriptor, data, size, at)); }
int ftruncate64(int descriptor, off64_t size) { ON_DESCRIPTOR("truncate", REAL(ftruncate64)(descriptor, size)); }
int fsync(int descriptor) { ON_DESCRIPTOR("sync", (int)syscall(SYS_fsync, descriptor)); }
int fdatasync(int descriptor) { ON_DESCRIPTOR("sync", (int)syscall(SYS_fdatasync, descriptor)); }
int sync_file_range(int descriptor, off64_t at, off64_t size, unsigned flags) { ON_DESCRIPTOR("write-out", (int)syscall(SYS_sync_file_range, descriptor, at, size, flags)); }

int close(int descriptor) {
    char path[PATH_MAX];
    if (mode == OFF) return (int)syscall(SYS_close, descriptor);
    name_of(descriptor, path);
    if (mode == FAIL && mine(path)) { /* a descriptor is gone whatever close answers */
        long number;
        int fails = before("close", path, "", &number);
        int result = (int)syscall(SYS_close, descriptor);
        if (fails) errno = (int)error_number;
        return fails ? -1 : result;
    }
    AROUND("close", path, "", (int)syscall(SYS_close, descriptor));
}

static int renamed(int from_folder, const char *from, int to_folder, const char *to) {
    char path[PATH_MAX], other[PATH_MAX];
    path_of(from_folder, from, path);
    path_of(to_folder, to, other);
    AROUND("rename", path, other, (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0));
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) { return renamed(from_folder, from, to_folder, to); }

static int unlinked(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    path_of(folder, name, path);
    AROUND("unlink", path, "", (int)syscall(SYS_unlinkat, folder, name, flags));
}

int unlink(const char *name) { return unlinked(AT_FDCWD, name, 0); }
int unlinkat(int folder, const char *name, int flags) { return unlinked(folder, name, flags); }

static int made(int folder, const char *name, mode_t bits) {
    char path[PATH_MAX];
    path_of(folder, name, path);
    AROUND("mkdir", path, "", (int)syscall(SYS_mkdirat, folder, name, bits));
}

int mkdir(const char *name, mode_t bits) { return made(AT_FDCWD, name, bits); }
int mkdirat(int folder, const char *name, mode_t bits) { return made(folder, name, bits); }
