#define _GNU_SOURCE
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

_Static_assert(GPUVM_SEAL_FUTURE_WRITE == F_SEAL_FUTURE_WRITE, "seal bits are the kernel's");
_Static_assert(GPUVM_SEAL_GROW == F_SEAL_GROW, "seal bits are the kernel's");

int gpuvm_memfd_create(const char *name, uint64_t size) {
    // MFD_NOEXEC_SEAL came with 6.3; older kernels answer EINVAL.
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int gpuvm_memfd_create_plain(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? -errno : fd;
}

int gpuvm_add_seals(int fd, uint32_t seals) {
    return fcntl(fd, F_ADD_SEALS, (int)seals) < 0 ? -errno : 0;
}

int gpuvm_get_seals(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);
    return seals < 0 ? -errno : seals;
}

int gpuvm_is_tmpfs(int fd) {
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return -errno;
    return fs.f_type == TMPFS_MAGIC;
}

ssize_t gpuvm_receive(int socket, struct gpuvm_message *message, int flags) {
    struct iovec iov = {message->bytes, message->length};
    // Room for one fd more than a message may carry: the surplus is seen, closed and refused.
    union {
        char bytes[CMSG_SPACE(sizeof(int) * (GPUVM_MAX_FDS + 1))];
        struct cmsghdr align;
    } control;
    struct msghdr header = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
    };
    ssize_t received;
    do {
        received = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    message->fd_count = 0;
    message->truncated = 0;
    if (received < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (message->fd_count < GPUVM_MAX_FDS) {
                message->fds[message->fd_count++] = fd;
            } else {
                close(fd);
                message->truncated |= 2;
            }
        }
    }
    if (header.msg_flags & MSG_TRUNC)
        message->truncated |= 1;
    if (header.msg_flags & MSG_CTRUNC)
        message->truncated |= 2;
    message->length = (size_t)received;
    return received;
}

int gpuvm_has_ended(int socket) {
    // The end is seen only once the peer sends no more, and that stays so.
    struct pollfd descriptor = {.fd = socket, .events = POLLRDHUP};
    if (poll(&descriptor, 1, 0) <= 0)
        return 0;
    // Nothing is queued behind the end. Another message without bytes would look like that too, but
    // its sender has gone.
    char byte;
    return recv(socket, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

ssize_t gpuvm_send(int socket, const struct gpuvm_message *message, int flags) {
    struct iovec iov = {message->bytes, message->length};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * GPUVM_MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    if (message->fd_count > GPUVM_MAX_FDS)
        return -E2BIG;
    if (message->fd_count > 0) {
        size_t size = sizeof(int) * message->fd_count;
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(size);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(c), message->fds, size);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

void gpuvm_trim_heap(void) { malloc_trim(0); }

int gpuvm_socket_cookie(int socket, uint64_t *cookie) {
    socklen_t length = sizeof *cookie;
    return getsockopt(socket, SOL_SOCKET, SO_COOKIE, cookie, &length) < 0 ? -errno : 0;
}

int gpuvm_peer_credentials(int socket, int32_t *pid, uint32_t *uid, uint32_t *gid) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return -errno;
    *pid = credentials.pid;
    *uid = credentials.uid;
    *gid = credentials.gid;
    return 0;
}

int gpuvm_peer_groups(int socket, uint32_t *groups, uint32_t capacity) {
    // The C library's headers may be older than the kernel's SO_PEERGROUPS (4.13).
    enum { peer_groups = 59 };
    socklen_t length = capacity * sizeof *groups;
    _Static_assert(sizeof(gid_t) == sizeof *groups, "groups have 32 bits");
    if (getsockopt(socket, SOL_SOCKET, peer_groups, groups, &length) < 0)
        return -errno;
    return (int)(length / sizeof *groups);
}

int gpuvm_accept(int socket) {
    int fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int gpuvm_socket_pair(int fds[2]) {
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}

static struct timespec *deadline_timespec(int64_t deadline_ns, struct timespec *storage) {
    if (deadline_ns == INT64_MAX)
        return NULL;
    // The kernel refuses negative times; a deadline before the epoch of the clock has passed.
    int64_t ns = deadline_ns < 0 ? 0 : deadline_ns;
    storage->tv_sec = ns / 1000000000;
    storage->tv_nsec = ns % 1000000000;
    return storage;
}

int gpuvm_futex_wait(const void *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec storage;
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                          deadline_timespec(deadline_ns, &storage), NULL, FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

int gpuvm_futex_wake(const void *word, int count) {
    long result = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return result < 0 ? -errno : (int)result;
}

// The layout and numbers of linux/futex.h since 5.16; Debian 12's headers have them, but a static
// copy keeps the build independent of the header's age.
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
struct waitv_entry {
    uint64_t value, address;
    uint32_t flags, reserved;
};

int gpuvm_futex_waitv(const struct gpuvm_futex_waiter *waiters, uint32_t count, int64_t deadline_ns) {
    struct waitv_entry entries[GPUVM_FUTEX_WAITV_MAX];
    if (count == 0 || count > GPUVM_FUTEX_WAITV_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct waitv_entry){
            .value = waiters[i].expected,
            .address = (uint64_t)(uintptr_t)waiters[i].word,
            .flags = 2 /* FUTEX_32, shared */,
        };
    }
    struct timespec storage;
    long result = syscall(SYS_futex_waitv, entries, count, 0,
                          deadline_timespec(deadline_ns, &storage), CLOCK_MONOTONIC);
    return result < 0 ? -errno : (int)result;
}

void gpuvm_set_thread_name(const char *name) {
    char shortened[16];
    strncpy(shortened, name, sizeof shortened - 1);
    shortened[sizeof shortened - 1] = 0;
    pthread_setname_np(pthread_self(), shortened);
}

struct gpuvm_thread_state *gpuvm_thread_state(void) {
    static _Thread_local struct gpuvm_thread_state state;
    return &state;
}

void *gpuvm_reserve(size_t bytes) {
    void *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

void *gpuvm_map_shared(int fd, uint64_t offset, size_t length, int writable, int *error) {
    void *address = mmap(NULL, length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd,
                         (off_t)offset);
    if (address == MAP_FAILED) {
        *error = -errno;
        return NULL;
    }
    *error = 0;
    return address;
}

void gpuvm_unmap(void *address, size_t length) { munmap(address, length); }
