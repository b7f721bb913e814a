/* A page cache that dies with its process: LD_PRELOAD it, and a SIGKILL is a power cut.
 *
 * What is written to regular files below VOLATILE_DIR stays in the memory of the process and is
 * shown to its reads. fsync and fdatasync hand it to the real file; sync_file_range does not.
 * Names (create, rename, unlink) take effect at once.
 *
 * VOLATILE_SEED     seeds what chance decides here
 * VOLATILE_EARLY    of so many written sectors one reaches the real file at once, as the kernel may
 *                   write any page back at any time; 0: none
 * VOLATILE_DELAY    the longest time that a sync takes, in microseconds
 * VOLATILE_WITHOUT  syncs that do nothing: "fdatasync:db,fdatasync:latest"
 *
 * Not for programs that fork, map files into memory or use io_uring. Linux with glibc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, MOST_FDS = 65536 };

/* One regular file. */
struct file {
    struct file *next;
    dev_t device;
    ino_t inode; /* 0: no name leads to it any more */
    int real;    /* an own descriptor, to read and write what is durable */
    char name[NAME_MAX + 1];
    char *bytes;
    size_t size, capacity;
    char *dirty; /* for each sector, whether the real file lacks it */
};

/* What descriptors share that are duplicates of each other. */
struct description {
    struct file *file;
    off_t position;
    bool appends;
    int descriptors;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files;
static struct description *descriptions[MOST_FDS];
static uint64_t chance = 1;

static void die(const char *what) {
    dprintf(2, "volatile.c: %s: %s\n", what, strerror(errno));
    abort();
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real && !(real = (__typeof__(&name))dlsym(RTLD_NEXT, #name))) die(#name)

static uint64_t setting(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void seed(void) {
    chance = setting("VOLATILE_SEED") * 2654435761u + 88172645463325252u;
}

/* xorshift64; under the lock. */
static uint64_t random_below(uint64_t bound) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance % bound;
}

/* --- The real file. --- */

static void read_all(struct file *file) {
    for (size_t at = 0; at < file->size;) {
        REAL(pread64);
        ssize_t got = real(file->real, file->bytes + at, file->size - at, at);
        if (got <= 0) die("read");
        at += got;
    }
}

static void hand_over(struct file *file, size_t from, size_t to) {
    REAL(pwrite64);
    while (from < to) {
        ssize_t put = real(file->real, file->bytes + from, to - from, from);
        if (put <= 0) die("write");
        from += put;
    }
}

/* All that is dirty, in the order of the file. A kill in between leaves a part, as a power cut would. */
static void make_durable(struct file *file) {
    size_t sectors = (file->size + SECTOR - 1) / SECTOR;
    for (size_t first = 0; first < sectors; first++) {
        size_t after = first;
        while (after < sectors && file->dirty[after]) file->dirty[after++] = 0;
        if (after == first) continue;
        size_t end = after * SECTOR < file->size ? after * SECTOR : file->size;
        hand_over(file, first * SECTOR, end);
        first = after - 1;
    }
    REAL(ftruncate64);
    if (real(file->real, file->size) != 0) die("truncate");
}

/* --- The cache. --- */

static void resize(struct file *file, size_t size) {
    if (size > file->capacity) {
        size_t capacity = (size * 2 + SECTOR - 1) / SECTOR * SECTOR;
        file->bytes = realloc(file->bytes, capacity);
        file->dirty = realloc(file->dirty, capacity / SECTOR);
        if (!file->bytes || !file->dirty) die("memory");
        memset(file->dirty + file->capacity / SECTOR, 0, (capacity - file->capacity) / SECTOR);
        file->capacity = capacity;
    }
    size_t lower = size < file->size ? size : file->size;
    memset(file->bytes + lower, 0, file->capacity - lower);
    for (size_t sector = lower / SECTOR; sector * SECTOR < size || sector * SECTOR < file->size; sector++)
        file->dirty[sector] = 1;
    file->size = size;
}

static struct file *file_with(dev_t device, ino_t inode) {
    for (struct file *file = files; file; file = file->next)
        if (file->inode == inode && file->device == device) return file;
    return NULL;
}

static void path_of(int fd, char path[PATH_MAX]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static bool is_ours(const char *path) {
    const char *folder = getenv("VOLATILE_DIR");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && path[length] == '/';
}

static struct file *load(int fd, const char *path, const struct stat64 *status) {
    struct file *file = file_with(status->st_dev, status->st_ino);
    if (file) return file;
    REAL(open64);
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    file = calloc(1, sizeof *file);
    if (!file || (file->real = real(link, O_RDWR | O_CLOEXEC)) < 0) die(path);
    file->device = status->st_dev;
    file->inode = status->st_ino;
    snprintf(file->name, sizeof file->name, "%s", strrchr(path, '/') + 1);
    resize(file, status->st_size);
    memset(file->dirty, 0, file->capacity / SECTOR);
    read_all(file);
    file->next = files;
    return files = file;
}

/* Takes over a descriptor that was opened just now. */
static void attend(int fd, int flags) {
    REAL(fstat64);
    struct stat64 status;
    char path[PATH_MAX];
    if (fd < 0 || fd >= MOST_FDS || real(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
    path_of(fd, path);
    if (!is_ours(path)) return;
    struct description *description = calloc(1, sizeof *description);
    if (!description) die("memory");
    pthread_mutex_lock(&lock);
    description->file = load(fd, path, &status);
    description->appends = flags & O_APPEND;
    description->descriptors = 1;
    if (flags & O_TRUNC) resize(description->file, 0);
    descriptions[fd] = description;
    pthread_mutex_unlock(&lock);
}

/* The description of a descriptor, with the lock held; NULL, without it, for what is not ours. */
static struct description *locked(int fd) {
    if (fd < 0 || fd >= MOST_FDS || !descriptions[fd]) return NULL;
    pthread_mutex_lock(&lock);
    struct description *it = descriptions[fd];
    if (!it) pthread_mutex_unlock(&lock);
    return it;
}

static ssize_t unlocked(ssize_t result) {
    pthread_mutex_unlock(&lock);
    return result;
}

static ssize_t put(struct file *file, const void *bytes, size_t count, size_t at) {
    if (!count) return 0;
    if (at + count > file->size) resize(file, at + count);
    memcpy(file->bytes + at, bytes, count);
    uint64_t early = setting("VOLATILE_EARLY");
    for (size_t sector = at / SECTOR; sector * SECTOR < at + count; sector++) {
        size_t end = (sector + 1) * SECTOR < file->size ? (sector + 1) * SECTOR : file->size;
        file->dirty[sector] = 1;
        if (early && random_below(early) == 0) hand_over(file, sector * SECTOR, end);
    }
    return count;
}

static ssize_t take(const struct file *file, void *bytes, size_t count, size_t at) {
    if (at >= file->size) return 0;
    if (count > file->size - at) count = file->size - at;
    memcpy(bytes, file->bytes + at, count);
    return count;
}

static ssize_t put_next(struct description *it, const void *bytes, size_t count) {
    if (it->appends) it->position = it->file->size;
    ssize_t written = put(it->file, bytes, count, it->position);
    it->position += written;
    return written;
}

/* --- Open and close. --- */

static mode_t mode_in(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

/* What is truncated is so in the cache only; so it must be opened whole. */
#define OPEN(name, signature, ...) \
    int name signature { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_in(flags, arguments); \
        va_end(arguments); \
        int kept = (flags & O_ACCMODE) != O_RDONLY && is_ours_at(__VA_ARGS__) ? flags & ~O_TRUNC : flags; \
        int fd = real(__VA_ARGS__, kept, mode); \
        attend(fd, flags); \
        return fd; \
    }

static bool is_ours_in(int folder, const char *path) {
    char whole[2 * PATH_MAX + 1], resolved[PATH_MAX], parent[PATH_MAX] = ".";
    if (path[0] != '/' && folder != AT_FDCWD) path_of(folder, parent);
    snprintf(whole, sizeof whole, "%s%s%s", path[0] == '/' ? "" : parent, path[0] == '/' ? "" : "/", path);
    return realpath(whole, resolved) && is_ours(resolved);
}

#define is_ours_at(...) IS_OURS(__VA_ARGS__, 2, 1)(__VA_ARGS__)
#define IS_OURS(first, second, count, ...) IS_OURS_##count
#define IS_OURS_1(path) is_ours_in(AT_FDCWD, path)
#define IS_OURS_2(folder, path) is_ours_in(folder, path)

OPEN(open, (const char *path, int flags, ...), path)
OPEN(open64, (const char *path, int flags, ...), path)
OPEN(openat, (int folder, const char *path, int flags, ...), folder, path)
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, path)

int close(int fd) {
    REAL(close);
    struct description *it = locked(fd);
    if (it) {
        descriptions[fd] = NULL;
        if (--it->descriptors == 0) free(it);
        unlocked(0);
    }
    return real(fd);
}

static int duplicated(int fd, int duplicate) {
    struct description *it = duplicate >= 0 && duplicate < MOST_FDS ? locked(fd) : NULL;
    if (it) {
        it->descriptors++;
        descriptions[duplicate] = it;
        unlocked(0);
    }
    return duplicate;
}

int dup(int fd) {
    REAL(dup);
    return duplicated(fd, real(fd));
}

int fcntl(int fd, int command, ...) {
    REAL(fcntl);
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int result = real(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

/* --- Read and write. --- */

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    struct description *it = locked(fd);
    return it ? unlocked(put(it->file, bytes, count, at)) : real(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    struct description *it = locked(fd);
    return it ? unlocked(put_next(it, bytes, count)) : real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    struct description *it = locked(fd);
    if (!it) return real(fd, parts, count);
    ssize_t written = 0;
    for (int part = 0; part < count; part++)
        written += put_next(it, parts[part].iov_base, parts[part].iov_len);
    return unlocked(written);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL(pread64);
    struct description *it = locked(fd);
    return it ? unlocked(take(it->file, bytes, count, at)) : real(fd, bytes, count, at);
}

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(read);
    struct description *it = locked(fd);
    if (!it) return real(fd, bytes, count);
    ssize_t got = take(it->file, bytes, count, it->position);
    it->position += got;
    return unlocked(got);
}

off64_t lseek64(int fd, off64_t offset, int whence) {
    REAL(lseek64);
    struct description *it = locked(fd);
    if (!it) return real(fd, offset, whence);
    off64_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? it->position : (off64_t)it->file->size;
    if (whence > SEEK_END || from + offset < 0) {
        errno = EINVAL;
        return unlocked(-1);
    }
    return unlocked(it->position = from + offset);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    struct description *it = locked(fd);
    if (!it) return real(fd, size);
    resize(it->file, size);
    return unlocked(0);
}

/* --- Sizes. --- */

static int shown(int result, struct stat64 *status) {
    if (result != 0 || !S_ISREG(status->st_mode)) return result;
    pthread_mutex_lock(&lock);
    struct file *file = file_with(status->st_dev, status->st_ino);
    if (file) status->st_size = file->size;
    return unlocked(result);
}

int fstat64(int fd, struct stat64 *status) {
    REAL(fstat64);
    return shown(real(fd, status), status);
}

int stat64(const char *path, struct stat64 *status) {
    REAL(stat64);
    return shown(real(path, status), status);
}

int lstat64(const char *path, struct stat64 *status) {
    REAL(lstat64);
    return shown(real(path, status), status);
}

int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    REAL(fstatat64);
    return shown(real(folder, path, status, flags), status);
}

int statx(int folder, const char *path, int flags, unsigned mask, struct statx *status) {
    REAL(statx);
    int result = real(folder, path, flags, mask, status);
    if (result != 0 || !S_ISREG(status->stx_mode)) return result;
    pthread_mutex_lock(&lock);
    dev_t device = makedev(status->stx_dev_major, status->stx_dev_minor);
    struct file *file = file_with(device, status->stx_ino);
    if (file) status->stx_size = file->size;
    return unlocked(result);
}

/* --- Syncs. --- */

static bool is_left_out(const char *call, const char *name) {
    const char *left_out = getenv("VOLATILE_WITHOUT");
    char entry[NAME_MAX + 32];
    int length = snprintf(entry, sizeof entry, "%s:%s", call, name);
    for (const char *at = left_out; at && (at = strstr(at, entry)); at += length)
        if (at[length] == ',' || at[length] == 0) return true;
    return false;
}

static int sync_of(struct description *it, const char *call) {
    uint64_t longest = setting("VOLATILE_DELAY");
    useconds_t pause = longest ? random_below(longest) : 0;
    struct file *file = it->file;
    unlocked(0);
    usleep(pause);
    if (is_left_out(call, file->name)) return 0;
    pthread_mutex_lock(&lock);
    make_durable(file);
    return unlocked(0);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    struct description *it = locked(fd);
    return it ? sync_of(it, "fdatasync") : real(fd);
}

int fsync(int fd) {
    REAL(fsync);
    struct description *it = locked(fd);
    return it ? sync_of(it, "fsync") : real(fd);
}

int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) {
    REAL(sync_file_range);
    struct description *it = locked(fd);
    return it ? unlocked(0) : real(fd, from, count, flags);
}

/* --- Names. --- */

/* A file that loses its last name must not be taken for another that gets its number. */
static void forget(int folder, const char *path) {
    REAL(fstatat64);
    struct stat64 status;
    if (real(folder, path, &status, AT_SYMLINK_NOFOLLOW) != 0 || status.st_nlink != 1) return;
    pthread_mutex_lock(&lock);
    struct file *file = file_with(status.st_dev, status.st_ino);
    if (file) file->inode = 0;
    unlocked(0);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    forget(AT_FDCWD, to);
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    forget(AT_FDCWD, path);
    return real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    forget(folder, path);
    return real(folder, path, flags);
}
