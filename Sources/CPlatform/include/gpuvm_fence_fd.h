// File descriptors that stand for fences: identity, hardening and eventfd, which need structures
// that Swift cannot reach.
#ifndef GPUVM_FENCE_FD_H
#define GPUVM_FENCE_FD_H

#include <stdint.h>

/// The identity of an open socket: its inode and SO_COOKIE.
struct gpuvm_socket_identity {
    uint64_t inode;
    uint64_t cookie;
};

/// Fills `identity`; -ENOTSOCK for an fd of another kind, -EBADF for none.
int gpuvm_socket_identity(int fd, struct gpuvm_socket_identity *identity);
/// Has the kernel discard whatever the peer sends to `socket` (a filter that accepts nothing): the
/// peer's writes neither queue memory nor keep passed fds alive. Returns 0 or -errno.
int gpuvm_discard_incoming(int socket);

/// eventfd(2) with EFD_CLOEXEC; the fd or -errno.
int gpuvm_eventfd_create(uint32_t count);
/// Adds 1 to an eventfd without ever blocking, also when its counter is full, as the kernel's own
/// eventfd_signal does. `context` comes from gpuvm_aio_create. Returns 0, -EINVAL if `eventfd` is no
/// eventfd, or another -errno.
int gpuvm_eventfd_signal(uint64_t context, int null_fd, int eventfd);
/// 0 if `fd` is an eventfd, -EBADF if it is not open, -EINVAL if it is something else.
int gpuvm_eventfd_check(int fd);
/// io_setup(2) for `events` operations; returns 0 or -errno (-ENOSYS where the kernel has no AIO).
int gpuvm_aio_create(uint32_t events, uint64_t *context);
void gpuvm_aio_destroy(uint64_t context);

#endif
