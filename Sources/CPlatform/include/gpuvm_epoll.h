// epoll and the eventfd that wakes a thread out of it. The kernel's struct epoll_event is packed on
// some machines and has a union, which Swift reads badly: these have plain fields.
#ifndef GPUVM_EPOLL_H
#define GPUVM_EPOLL_H

#include <stdint.h>

// The kernel's EPOLL* bits. Hang-ups and errors are reported unasked.
#define GPUVM_EPOLL_IN 0x001u
#define GPUVM_EPOLL_ERR 0x008u
#define GPUVM_EPOLL_HUP 0x010u

/// What became of one registered descriptor: its token and GPUVM_EPOLL_* bits.
struct gpuvm_epoll_event {
    uint64_t token;
    uint32_t events;
};

/// The most events that one gpuvm_epoll_wait takes.
#define GPUVM_EPOLL_BATCH 64

/// epoll_create1(2) with EPOLL_CLOEXEC; the fd or -errno.
int gpuvm_epoll_create(void);
/// Registers `fd`: events are reported with `token` for as long as they hold. Returns 0, -EBADF,
/// -EEXIST, -EPERM (a file that cannot be waited for), -ENOMEM, -ENOSPC or -EINVAL.
int gpuvm_epoll_add(int epoll, int fd, uint32_t events, uint64_t token);
/// As gpuvm_epoll_add, but one report only; the next needs gpuvm_epoll_rearm.
int gpuvm_epoll_add_once(int epoll, int fd, uint32_t events, uint64_t token);
/// Sets the events and token of a registered `fd` and lets it be reported once more, at once if an
/// event holds. Returns 0, -EBADF or -ENOENT (the number names another file by now).
int gpuvm_epoll_rearm(int epoll, int fd, uint32_t events, uint64_t token);
/// Ends a registration. Returns 0, -EBADF or -ENOENT.
int gpuvm_epoll_remove(int epoll, int fd);
/// Waits for events, `timeout_ms` from now at most (-1: for ever); `events` has room for
/// GPUVM_EPOLL_BATCH. Returns their number, 0 when the time is over, or -errno (-EINTR).
int gpuvm_epoll_wait(int epoll, struct gpuvm_epoll_event *events, int timeout_ms);

/// eventfd(2) with EFD_CLOEXEC | EFD_NONBLOCK and a count of 0; the fd or -errno.
int gpuvm_wake_create(void);
/// Makes `wake` readable. Never blocks; a counter that is full is readable already.
void gpuvm_wake_set(int wake);
/// Makes `wake` unreadable until the next gpuvm_wake_set. Never blocks.
void gpuvm_wake_clear(int wake);

#endif
