#define _GNU_SOURCE
#include "gpuvm_epoll.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(GPUVM_EPOLL_IN == EPOLLIN, "event bits are the kernel's");
_Static_assert(GPUVM_EPOLL_ERR == EPOLLERR, "event bits are the kernel's");
_Static_assert(GPUVM_EPOLL_HUP == EPOLLHUP, "event bits are the kernel's");

int gpuvm_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int gpuvm_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
    return control(epoll, EPOLL_CTL_ADD, fd, events, token);
}

int gpuvm_epoll_add_once(int epoll, int fd, uint32_t events, uint64_t token) {
    return control(epoll, EPOLL_CTL_ADD, fd, events | EPOLLONESHOT, token);
}

int gpuvm_epoll_rearm(int epoll, int fd, uint32_t events, uint64_t token) {
    return control(epoll, EPOLL_CTL_MOD, fd, events | EPOLLONESHOT, token);
}

int gpuvm_epoll_remove(int epoll, int fd) { return control(epoll, EPOLL_CTL_DEL, fd, 0, 0); }

int gpuvm_epoll_wait(int epoll, struct gpuvm_epoll_event *events, int timeout_ms) {
    struct epoll_event ready[GPUVM_EPOLL_BATCH];
    int count = epoll_wait(epoll, ready, GPUVM_EPOLL_BATCH, timeout_ms);
    if (count < 0)
        return -errno;
    for (int i = 0; i < count; i++)
        events[i] = (struct gpuvm_epoll_event){ready[i].data.u64, ready[i].events};
    return count;
}

int gpuvm_wake_create(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

void gpuvm_wake_set(int wake) {
    // EAGAIN: the counter is full, so that it is readable; a write of 8 bytes cannot be partial.
    eventfd_write(wake, 1);
}

void gpuvm_wake_clear(int wake) {
    // One read takes the whole count; EAGAIN: it was 0.
    eventfd_t count;
    eventfd_read(wake, &count);
}
