// System calls and primitives that Swift cannot reach through Glibc: variadic functions, macros
// (CMSG_*, futex), thread-local storage and the FUTEX_32 waitv call.
//
// Every function returns a non-negative value or -errno; none of them touches errno's users.
#ifndef GPUVM_CPLATFORM_H
#define GPUVM_CPLATFORM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gpuvm_epoll.h"
#include "gpuvm_fence_fd.h"
#include "gpuvm_fence_page.h"

// MARK: memfd and seals

/// memfd_create(2) with MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL where the kernel has it.
int gpuvm_memfd_create(const char *name, uint64_t size);
/// memfd_create(2) with MFD_CLOEXEC | MFD_ALLOW_SEALING and no seal yet, empty: journald before 254
/// refuses a file with any seal but the four that it asks for, MFD_NOEXEC_SEAL's among them.
int gpuvm_memfd_create_plain(const char *name);
/// F_ADD_SEALS; `seals` are GPUVM_SEAL_* bits, which are the kernel's F_SEAL_* bits.
int gpuvm_add_seals(int fd, uint32_t seals);
/// F_GET_SEALS, or -EINVAL for an fd that has no seals (no memfd).
int gpuvm_get_seals(int fd);
/// 1 if the fd lives on tmpfs (a memfd does), 0 if not, or -errno.
int gpuvm_is_tmpfs(int fd);

#define GPUVM_SEAL_SEAL 0x0001u
#define GPUVM_SEAL_SHRINK 0x0002u
#define GPUVM_SEAL_GROW 0x0004u
#define GPUVM_SEAL_WRITE 0x0008u
#define GPUVM_SEAL_FUTURE_WRITE 0x0010u

// MARK: heap

/// malloc_trim(3): gives whole pages that nothing lies in back to the system, in all arenas.
void gpuvm_trim_heap(void);

// MARK: sockets

#define GPUVM_MAX_FDS 16

/// One message received or to be sent: bytes and file descriptors.
struct gpuvm_message {
    void *bytes;
    size_t length;    // in: capacity (receive) or bytes to send; out: bytes received
    int fds[GPUVM_MAX_FDS];
    uint32_t fd_count;
    uint32_t truncated;  // out: 1 if bytes, 2 if fds were cut off (MSG_TRUNC, MSG_CTRUNC)
};

/// recvmsg(2) with MSG_CMSG_CLOEXEC; fds beyond GPUVM_MAX_FDS are closed and `truncated` says so.
/// Returns the number of bytes, 0 at end of file, or -errno. `flags`: MSG_DONTWAIT or 0.
ssize_t gpuvm_receive(int socket, struct gpuvm_message *message, int flags);
/// After a gpuvm_receive that returned 0 and no fd: 1 if that was the end of the stream, 0 if it was
/// a message without bytes. Never blocks.
int gpuvm_has_ended(int socket);
/// sendmsg(2) with MSG_NOSIGNAL and the message's fds; `flags`: MSG_DONTWAIT or 0.
ssize_t gpuvm_send(int socket, const struct gpuvm_message *message, int flags);
/// SO_COOKIE: the identity of a socket, never used twice while the machine runs.
int gpuvm_socket_cookie(int socket, uint64_t *cookie);
/// SO_PEERCRED.
int gpuvm_peer_credentials(int socket, int32_t *pid, uint32_t *uid, uint32_t *gid);
/// SO_PEERGROUPS: how many supplementary groups the peer had when it connected, written to `groups`;
/// -ERANGE if there are more than `capacity` (the kernel allows NGROUPS_MAX, 65536).
int gpuvm_peer_groups(int socket, uint32_t *groups, uint32_t capacity);
/// accept4(2) with SOCK_CLOEXEC: the new socket, or -errno.
int gpuvm_accept(int socket);
/// socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC).
int gpuvm_socket_pair(int fds[2]);

// MARK: futex (shared, so that two processes can wait on one page)

/// FUTEX_WAIT_BITSET on a shared word with an absolute CLOCK_MONOTONIC deadline in ns
/// (INT64_MAX: none). Returns 0, -EAGAIN (the word differs), -ETIMEDOUT or -EINTR.
int gpuvm_futex_wait(const void *word, uint32_t expected, int64_t deadline_ns);
/// FUTEX_WAKE on a shared word; returns the number of waiters woken.
int gpuvm_futex_wake(const void *word, int count);

#define GPUVM_FUTEX_WAITV_MAX 128
struct gpuvm_futex_waiter {
    uint64_t expected;
    const void *word;
};
/// futex_waitv(2) over `count` (1…128) shared words. Returns the index woken or -errno.
int gpuvm_futex_waitv(const struct gpuvm_futex_waiter *waiters, uint32_t count, int64_t deadline_ns);

// MARK: threads

/// Names the calling thread (15 bytes at most are kept).
void gpuvm_set_thread_name(const char *name);

/// What the calling thread holds: a small stack of lock ranks and the depth of signalling sections.
#define GPUVM_MAX_HELD_LOCKS 64
struct gpuvm_thread_state {
    uint32_t held_count;
    uint32_t signalling_depth;
    uint16_t held_rank[GPUVM_MAX_HELD_LOCKS];
    const void *held_lock[GPUVM_MAX_HELD_LOCKS];
    // Chain nodes that this thread has yet to signal: a queue, so that no cascade recurses.
    void *ready_first, *ready_last;
    uint32_t ready_draining;
    // Waiters of sync objects that this thread has yet to tell of their fence: a queue as well.
    uint32_t available_draining;
    void *available_first, *available_last;
};
/// The calling thread's own state; valid until the thread ends.
struct gpuvm_thread_state *gpuvm_thread_state(void);

// MARK: memory

/// mmap of anonymous, private, NORESERVE memory; NULL on failure.
void *gpuvm_reserve(size_t bytes);
/// mmap(MAP_SHARED) of `length` bytes of `fd` at `offset`; NULL on failure with -errno in *error.
void *gpuvm_map_shared(int fd, uint64_t offset, size_t length, int writable, int *error);
void gpuvm_unmap(void *address, size_t length);
/// memcpy(3) that leaves the destination out of the caches, for pieces of a copy that is larger than
/// they are: nothing is fetched that will be overwritten anyway. Ordered before all later stores.
void gpuvm_copy_streaming(void *to, const void *from, size_t bytes);

// MARK: objects

/// Swift's run time: retains an object and returns it, or NULL once its deinitializer has begun. The
/// object's memory must be there. Swift itself has it behind `weak` variables only.
void *swift_tryRetain(void *object);

#endif
