// Open files: connections to the daemon that say what they are.
//
// An open file is named at its own end of the connection, in the abstract name space:
// "\0gpuvm-drm/1/MAJOR:MINOR/…". getsockname(2) therefore recognises a descriptor in a program that
// never opened it: after exec, received by SCM_RIGHTS, duplicated by whatever means. Nothing is
// kept by descriptor number, so that a number that was closed behind the shim's back and is used
// again is never mistaken.
#include "shim.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>

#define NAME_PREFIX "gpuvm-drm/1/"

static int name_socket(int fd, dev_t rdev) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    uint64_t unique;
    for (;;) {
        // Unique names need no secret: without enough entropy at boot the address of a local and
        // the time would do as well, and a name in use is tried again.
        if (syscall(SYS_getrandom, &unique, sizeof unique, GRND_NONBLOCK) != sizeof unique) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            unique = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u ^ (uintptr_t)&now
                ^ (uint64_t)getpid() << 32;
        }
        int length = snprintf(
            name.sun_path + 1, sizeof name.sun_path - 1, NAME_PREFIX "%u:%u/%016llx", major(rdev),
            minor(rdev), (unsigned long long)unique);
        socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
        if (syscall(SYS_bind, fd, &name, bytes) == 0)
            return 0;
        if (errno != EADDRINUSE)
            return -errno;
    }
}

int shim_send(
    int socket, const struct iovec *pieces, size_t count, const int *fds, size_t fd_count) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * GPUVM_MAX_MESSAGE_FDS)];
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    if (fd_count > 0) {
        memset(control, 0, sizeof control);
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
    }
    while (syscall(SYS_sendmsg, socket, &message, MSG_NOSIGNAL) < 0) {
        if (errno == EAGAIN) {
            // The open file is O_NONBLOCK; that is not meant for this.
            struct pollfd writable = {socket, POLLOUT, 0};
            poll(&writable, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int handshake(int fd, uint32_t kind, unsigned minor_number) {
    struct gpuvm_drm_open body = {
        .magic = GPUVM_PROTOCOL_MAGIC,
        .major = GPUVM_PROTOCOL_MAJOR,
        .minor = GPUVM_PROTOCOL_MINOR,
        .node = kind,
        .minor_number = minor_number,
    };
    memcpy(
        body.name, program_invocation_short_name,
        strnlen(program_invocation_short_name, sizeof body.name - 1));
    struct gpuvm_header header = {
        .length = sizeof header + sizeof body, .opcode = GPUVM_DRM_OPEN, .serial = 1};
    struct iovec out[2] = {{&header, sizeof header}, {&body, sizeof body}};
    int result = shim_send(fd, out, 2, NULL, 0);
    if (result < 0)
        return result == -EPIPE ? -ECONNRESET : result;
    struct gpuvm_drm_open_reply reply;
    char rest[512];
    struct gpuvm_header answer;
    struct iovec in[3] = {{&answer, sizeof answer}, {&reply, sizeof reply}, {rest, sizeof rest}};
    struct msghdr message = {.msg_iov = in, .msg_iovlen = 3};
    long size;
    do {
        size = syscall(SYS_recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size <= 0)
        return size < 0 ? -errno : -ECONNRESET;
    if (size < (long)sizeof answer || answer.opcode != GPUVM_DRM_OPEN || answer.serial != 1
        || !(answer.flags & GPUVM_HEADER_REPLY))
        return -EPROTO;
    if (answer.status > 0)
        return -answer.status;
    if (size < (long)(sizeof answer + sizeof reply) || reply.major != GPUVM_PROTOCOL_MAJOR)
        return -EPROTO;
    return 0;
}

static int find_daemon(struct sockaddr_un *address) {
    const struct shim_config config = shim_config();
    size_t length = config.socket ? strlen(config.socket) : 0;
    // A node without its driver: what open(2) answers for a device that is not there.
    if (length == 0 || length >= sizeof address->sun_path) {
        shim_debug("%s names no socket of a daemon", GPUVM_SHIM_ENV_SOCKET);
        return -ENXIO;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, config.socket, length);
    return 0;
}

static int connect_daemon(int fd, const struct sockaddr_un *address) {
    while (syscall(SYS_connect, fd, address, sizeof *address) < 0) {
        if (errno == EINTR)
            continue;
        shim_debug("no daemon at %s: %s", address->sun_path, strerrordesc_np(errno));
        return errno == EACCES || errno == EPERM ? -EACCES : -ENXIO;
    }
    return 0;
}

int shim_open_node(const struct shim_node *node, int flags) {
    if (flags & O_DIRECTORY)
        return -ENOTDIR;
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return -EEXIST;
    struct sockaddr_un address;
    int result = find_daemon(&address);
    if (result < 0)
        return result;
    int fd = (int)syscall(
        SYS_socket, AF_UNIX, SOCK_SEQPACKET | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);
    if (fd < 0)
        return -errno;
    result = name_socket(fd, node->rdev);
    if (result == 0)
        result = connect_daemon(fd, &address);
    if (result == 0) {
        unsigned number = minor(node->rdev);
        result = handshake(fd, number >= 128 ? GPUVM_DRM_RENDER : GPUVM_DRM_PRIMARY, number);
        if (result < 0)
            shim_debug("the daemon refuses the open: %s", strerrordesc_np(-result));
        if (result == -ECONNRESET)
            result = -ENXIO;
    }
    if (result == 0 && flags & O_NONBLOCK && syscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK) < 0)
        result = -errno;
    if (result < 0) {
        syscall(SYS_close, fd);
        return result;
    }
    shim_hint_set(fd);
    shim_stream_sweep();
    return fd;
}

static uint64_t inode_of(int fd) {
    struct stat status;
    return syscall(SYS_fstat, fd, &status) == 0 ? status.st_ino : 0;
}

static int make_control_file(void) {
    struct sockaddr_un address;
    int result = find_daemon(&address);
    if (result < 0)
        return result;
    int fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    result = connect_daemon(fd, &address);
    if (result == 0)
        result = handshake(fd, GPUVM_DRM_DESCRIPTORS, 0);
    if (result == 0)
        return shim_move_high(fd);
    syscall(SYS_close, fd);
    return result;
}

// Whether its daemon is gone.
static bool is_hung_up(int fd) {
    struct pollfd state = {fd, 0, 0};
    return poll(&state, 1, 0) > 0 && state.revents & (POLLHUP | POLLERR);
}

int shim_control_file(uint64_t *inode) {
    // The descriptor in the lower half, plus 1, and the lower half of its inode's number: what the
    // program closed behind our backs, or a program's copy of it in a number used again, is not it.
    static _Atomic uint64_t kept;
    for (;;) {
        uint64_t known = atomic_load(&kept);
        int dead = -1;
        if (known != 0) {
            int fd = (int)(uint32_t)known - 1;
            *inode = inode_of(fd);
            if (*inode != 0 && (uint32_t)*inode == known >> 32) {
                if (!is_hung_up(fd))
                    return fd;
                dead = fd;
            }
        }
        // A daemon that was started again serves living processes; while there is none, the dead
        // connection goes on saying so.
        int fd = make_control_file();
        if (fd < 0)
            return dead < 0 ? fd : dead;
        uint64_t before = *inode;
        *inode = inode_of(fd);
        uint64_t made = (uint64_t)(uint32_t)*inode << 32 | (uint32_t)(fd + 1);
        if (atomic_compare_exchange_strong(&kept, &known, made)) {
            shim_stream_control(fd);
            if (dead >= 0) {
                shim_stream_drop(before);
                syscall(SYS_close, dead);
            }
            return fd;
        }
        syscall(SYS_close, fd);  // another thread was first
    }
}

// Another user's process can name its sockets as it likes, but is not the daemon.
static bool is_trusted(int fd) {
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    const char *socket = shim_config().socket;
    struct stat status;
    return socket && syscall(SYS_newfstatat, AT_FDCWD, socket, &status, 0) == 0
        && status.st_uid == peer.uid;
}

bool shim_identify(int fd, dev_t *rdev) {
    int saved = errno;
    struct sockaddr_un name;
    socklen_t bytes = sizeof name;
    bool ours = syscall(SYS_getsockname, fd, &name, &bytes) == 0 && name.sun_family == AF_UNIX
        && bytes > offsetof(struct sockaddr_un, sun_path) + 1 + sizeof NAME_PREFIX
        && bytes < sizeof name && name.sun_path[0] == 0
        && memcmp(name.sun_path + 1, NAME_PREFIX, sizeof NAME_PREFIX - 1) == 0 && is_trusted(fd);
    if (ours) {
        ((char *)&name)[bytes] = 0;
        unsigned numbers[2] = {0, 0}, index = 0;
        for (const char *next = name.sun_path + sizeof NAME_PREFIX; *next && *next != '/'; next++)
            if (*next == ':' && index == 0)
                index = 1;
            else
                numbers[index] = numbers[index] * 10 + (unsigned)(*next - '0');
        *rdev = makedev(numbers[0], numbers[1]);
    }
    errno = saved;
    return ours;
}
