/* LD_PRELOAD it, and fdatasync does nothing for files whose path ends in NO_FDATASYNC_OF. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *end = getenv("NO_FDATASYNC_OF");
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    size_t rest = strlen(path), wanted = end ? strlen(end) : 0;
    if (wanted && wanted <= rest && strcmp(path + rest - wanted, end) == 0) return 0;
    return real(fd);
}
