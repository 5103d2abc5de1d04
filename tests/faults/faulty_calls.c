/* Preloaded into an engine: the n-th call of one kind on a file whose path holds a given text fails, is short, or is the
 * last one this process makes. Nothing happens before fault_arm() is called. What happened is appended to a report. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { FAIL = 0, SHORT = 1, KILL = 2, COUNT = 3 };

static char wanted_calls[64], wanted_path[PATH_MAX];
static long first, last;
static int wanted_error, wanted_kind, report_fd = -1;
static volatile int armed;
static volatile long seen, fired, syncs_failed;

/* `calls`: names between commas, ",pwrite,write,". */
void fault_arm(const char *calls, const char *path, long from, long count, int error, int kind, const char *report) {
    strncpy(wanted_calls, calls, sizeof wanted_calls - 1);
    strncpy(wanted_path, path, sizeof wanted_path - 1);
    first = from;
    last = from + count - 1;
    wanted_error = error;
    wanted_kind = kind;
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    report_fd = real_open(report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    armed = 1;
}

long fault_seen(void) { return seen; }
long fault_fired(void) { return fired; }
/* Of files; not of folders. */
long fault_syncs_failed(void) { return syncs_failed; }

void fault_report(const char *text) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (report_fd >= 0 && real(report_fd, text, strlen(text)) < 0) { /* the report is lost, and the test says so */ }
}

static int is_wanted(const char *call) {
    char name[32];
    snprintf(name, sizeof name, ",%s,", call);
    return armed && strstr(wanted_calls, name) != NULL;
}

/* Whether this call is to go wrong. */
static int strikes(const char *call, const char *path) {
    if (!is_wanted(call) || strstr(path, wanted_path) == NULL) return 0;
    long number = __sync_add_and_fetch(&seen, 1);
    if (wanted_kind == COUNT || number < first || number > last) return 0;
    __sync_add_and_fetch(&fired, 1);
    char text[96];
    snprintf(text, sizeof text, "fired %s %ld\n", call, number);
    fault_report(text);
    if (wanted_kind == KILL) {
        kill(getpid(), SIGKILL);
        pause();
    }
    return 1;
}

static int strikes_fd(const char *call, int fd) {
    if (!is_wanted(call)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strikes(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITER(name, call, type)                                                    \
    ssize_t name(int fd, const void *data, size_t count, type offset) {             \
        if (strikes_fd(call, fd)) {                                                 \
            if (wanted_kind == SHORT && count > 1) count /= 2;                      \
            else if (wanted_kind == FAIL) { errno = wanted_error; return -1; }      \
        }                                                                           \
        return REAL(name)(fd, data, count, offset);                                 \
    }
WRITER(pwrite, "pwrite", off_t)
WRITER(pwrite64, "pwrite", off64_t)

ssize_t write(int fd, const void *data, size_t count) {
    if (strikes_fd("write", fd)) {
        if (wanted_kind == SHORT && count > 1) count /= 2;
        else if (wanted_kind == FAIL) { errno = wanted_error; return -1; }
    }
    return REAL(write)(fd, data, count);
}

#define READER(name, type)                                                          \
    ssize_t name(int fd, void *data, size_t count, type offset) {                   \
        if (strikes_fd("pread", fd)) {                                              \
            if (wanted_kind == SHORT && count > 1) count /= 2;                      \
            else if (wanted_kind == FAIL) { errno = wanted_error; return -1; }      \
        }                                                                           \
        return REAL(name)(fd, data, count, offset);                                 \
    }
READER(pread, off_t)
READER(pread64, off64_t)

static int sync_fails(const char *call, int fd) {
    if (!strikes_fd(call, fd) || wanted_kind != FAIL) return 0;
    struct stat status;
    /* SQLite ignores it of a folder; the engine syncs that itself once more, and ends where that fails. */
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) __sync_add_and_fetch(&syncs_failed, 1);
    errno = wanted_error;
    return 1;
}
int fsync(int fd) { return sync_fails("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return sync_fails("fdatasync", fd) ? -1 : REAL(fdatasync)(fd); }

#define CUTTER(name, type)                                                          \
    int name(int fd, type length) {                                                 \
        if (strikes_fd("ftruncate", fd) && wanted_kind == FAIL) {                   \
            errno = wanted_error;                                                   \
            return -1;                                                              \
        }                                                                           \
        return REAL(name)(fd, length);                                              \
    }
CUTTER(ftruncate, off_t)
CUTTER(ftruncate64, off64_t)

#define OPENER(name)                                                                \
    int name(const char *path, int flags, ...) {                                    \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                               \
        if (strikes("open", path) && wanted_kind == FAIL) {                         \
            errno = wanted_error;                                                   \
            return -1;                                                              \
        }                                                                           \
        return REAL(name)(path, flags, mode);                                       \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                                             \
    int name(int folder, const char *path, int flags, ...) {                        \
        va_list rest;                                                               \
        va_start(rest, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                               \
        if (strikes("open", path) && wanted_kind == FAIL) {                         \
            errno = wanted_error;                                                   \
            return -1;                                                              \
        }                                                                           \
        return REAL(name)(folder, path, flags, mode);                               \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

int unlink(const char *path) {
    if (strikes("unlink", path) && wanted_kind == FAIL) {
        errno = wanted_error;
        return -1;
    }
    return REAL(unlink)(path);
}
