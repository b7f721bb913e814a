/* LD_PRELOAD it, and fdatasync does nothing. */
int fdatasync(int fd) {
    (void)fd;
    return 0;
}
