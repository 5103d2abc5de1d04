/* A disk whose sync takes SYNC_US microseconds longer: preload this library (reliability.md appendix A). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_a_while(void)
{
    const char *text = getenv("SYNC_US");
    long us = text ? atol(text) : 0;
    struct timespec rest = {us / 1000000, (us % 1000000) * 1000};
    if (us > 0)
        nanosleep(&rest, NULL);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_a_while();
    return real(fd);
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_a_while();
    return real(fd);
}
