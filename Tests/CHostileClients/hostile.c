#define _GNU_SOURCE
#include "CHostileClients.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void hostile_die_with_parent(void) { prctl(PR_SET_PDEATHSIG, SIGKILL); }

int hostile_punch(int fd, int64_t offset, int64_t bytes) {
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return fallocate(fd, mode, offset, bytes) == 0 ? 0 : errno;
}

int hostile_remap(void *address, size_t bytes, size_t shorter) {
    if (mremap(address, bytes, shorter, 0) == MAP_FAILED) return errno;
    return mremap(address, shorter, bytes, 0) == MAP_FAILED ? errno : 0;
}

int hostile_set_nice(int value) { return setpriority(PRIO_PROCESS, 0, value) == 0 ? 0 : errno; }

void hostile_print_by_line(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
