/* Fail points of a disk: LD_PRELOAD it, and calls fail for as long as a rule says so.
 *
 * FAULTS names a file of 4096 bytes, which is looked at on each call. It begins with the rules, one a line, and
 * ends with a number of eight bytes: how many calls were made to fail so far.
 *
 *   write 28 1 /data/       calls that write to files whose path has "/data/" in it fail with errno 28
 *   sync 5 10 /store/db     of those that sync, one in ten, by chance
 *
 * The kinds of calls: open (to write, or to make), write, sync, range (sync_file_range), name (rename, unlink,
 * mkdir, truncate).
 * Linux with glibc; what a program does by system calls of its own is not caught.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, RULES = PAGE - sizeof(uint64_t) };

static char *page;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real && !(real = (__typeof__(&name))dlsym(RTLD_NEXT, #name))) abort()

__attribute__((constructor)) static void map_rules(void) {
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) page = mapped;
    close(fd);
}

/* xorshift64*, with a state for each thread. */
static uint64_t random_below(uint64_t bound) {
    static __thread uint64_t state;
    if (!state) state = (uintptr_t)&state ^ (uint64_t)getpid() << 32 ^ 88172645463325252u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 2685821657736338717u >> 33) % bound;
}

/* Whether a rule says that this call fails; errno is set then. */
static bool fails(const char *kind, const char *path) {
    if (!page) return false;
    char rules[RULES + 1], *rest, *next = rules;
    memcpy(rules, page, RULES);
    rules[RULES] = 0;
    for (char *line; (line = strtok_r(next, "\n", &rest)); next = NULL) {
        char of[8], part[PATH_MAX];
        int error, chance;
        if (sscanf(line, "%7s %d %d %4095s", of, &error, &chance, part) != 4) continue;
        if (strcmp(of, kind) != 0 || !strstr(path, part) || random_below(chance) != 0) continue;
        atomic_fetch_add((_Atomic uint64_t *)(void *)(page + RULES), 1);
        errno = error;
        return true;
    }
    return false;
}

static bool fails_fd(const char *kind, int fd) {
    char link[32], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = page ? readlink(link, path, sizeof path - 1) : -1;
    errno = before;
    if (length < 0) return false;
    path[length] = 0;
    return fails(kind, path);
}

/* Relative paths are told as they are, behind a slash. */
static bool fails_at(const char *kind, const char *path) {
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "%s%s", path[0] == '/' ? "" : "/", path);
    return fails(kind, whole);
}

/* --- Open. --- */

#define OPEN(name, signature, path, ...) \
    int name signature { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments); \
        bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT; \
        if (writes && fails_at("open", path)) return -1; \
        return real(__VA_ARGS__, flags, mode); \
    }

OPEN(open, (const char *path, int flags, ...), path, path)
OPEN(open64, (const char *path, int flags, ...), path, path)
OPEN(openat, (int folder, const char *path, int flags, ...), path, folder, path)
OPEN(openat64, (int folder, const char *path, int flags, ...), path, folder, path)

/* --- Write. --- */

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    return fails_fd("write", fd) ? -1 : real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return fails_fd("write", fd) ? -1 : real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    return fails_fd("write", fd) ? -1 : real(fd, bytes, count, at);
}

/* --- Sync. --- */

int fsync(int fd) {
    REAL(fsync);
    return fails_fd("sync", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_fd("sync", fd) ? -1 : real(fd);
}

int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) {
    REAL(sync_file_range);
    return fails_fd("range", fd) ? -1 : real(fd, from, count, flags);
}

/* --- Names and sizes. --- */

int rename(const char *from, const char *to) {
    REAL(rename);
    return fails_at("name", to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return fails_at("name", path) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails_at("name", path) ? -1 : real(path, mode);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return fails_fd("name", fd) ? -1 : real(fd, size);
}
