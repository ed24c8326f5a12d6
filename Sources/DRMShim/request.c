// A request and its reply on a stream.
//
// The program's memory is read by sendmsg(2) and written by recvmsg(2), or by their file cousins
// for what is too long for a message. So a bad pointer is EFAULT as in a kernel, nothing is copied
// twice, and nothing has to be probed. The system calls are direct: ioctl(2) and mmap(2) are no
// cancellation points.
#include "shim.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

static size_t total(const struct iovec *pieces, size_t count) {
    size_t bytes = 0;
    for (size_t index = 0; index < count; index++)
        bytes += pieces[index].iov_len;
    return bytes;
}

// Reads or writes a whole file through a list of pieces.
static int transfer(long number, int fd, const struct iovec *pieces, size_t count) {
    off_t offset = 0;
    for (size_t index = 0; index < count; index++) {
        char *base = pieces[index].iov_base;
        for (size_t left = pieces[index].iov_len; left > 0;) {
            long done = syscall(number, fd, base, left, offset);
            if (done < 0 && errno == EINTR)
                continue;
            if (done <= 0)
                return done < 0 ? -errno : -EPROTO;
            base += done;
            offset += done;
            left -= (size_t)done;
        }
    }
    return 0;
}

static int external(const struct iovec *pieces, size_t count) {
    int fd = (int)syscall(SYS_memfd_create, "gpuvm-ioctl", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int result = transfer(SYS_pwrite64, fd, pieces, count);
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    if (result == 0 && syscall(SYS_fcntl, fd, F_ADD_SEALS, seals) < 0)
        result = -errno;
    if (result == 0)
        return fd;
    syscall(SYS_close, fd);
    return result;
}

// 0, -errno; *broken if the stream cannot carry it.
static int post(const struct shim_stream *stream, struct shim_request *request, bool *broken) {
    struct iovec pieces[SHIM_MAX_PIECES + 1];
    size_t bytes = total(request->out, request->out_count);
    struct gpuvm_header header = {
        .length = (uint32_t)(sizeof header + bytes),
        .opcode = request->opcode,
        .serial = stream->serial,
    };
    pieces[0] = (struct iovec){&header, sizeof header};
    *broken = false;
    int result;
    if (bytes + sizeof header > GPUVM_MAX_INLINE) {
        if (bytes > GPUVM_MAX_EXTERNAL)
            return -ENOMEM;
        int fds[GPUVM_MAX_MESSAGE_FDS];
        int memory = external(request->out, request->out_count);
        if (memory < 0)
            return memory;
        fds[0] = memory;
        memcpy(fds + 1, request->fds, sizeof(int) * request->fd_count);
        header.flags = GPUVM_HEADER_EXTERNAL;
        header.length = (uint32_t)bytes;
        result = shim_send(stream->fd, pieces, 1, fds, request->fd_count + 1);
        syscall(SYS_close, memory);
    } else {
        memcpy(pieces + 1, request->out, sizeof *pieces * request->out_count);
        result = shim_send(
            stream->fd, pieces, request->out_count + 1, request->fds, request->fd_count);
    }
    *broken = result == -EPIPE || result == -ECONNRESET || result == -ENOTCONN || result == -EBADF;
    return result;
}

static void drop_fds(struct shim_request *request) {
    while (request->received_count > 0)
        syscall(SYS_close, request->received[--request->received_count]);
}

// How long a reply is polled for before the thread sleeps, ns: a bind of a few hundred pages.
#define POLLING 500000

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// Most calls take less time than a CPU needs to come back from idleness, and a kernel would have
// kept the thread busy with the call itself. So it stays awake for a while, and gives way to whoever
// can run. EAGAIN: there is no reply yet.
static long poll_reply(int socket, struct msghdr *message, int flags) {
    const struct msghdr fresh = *message;
    const uint64_t end = now() + POLLING;
    do {
        long size = syscall(SYS_recvmsg, socket, message, flags | MSG_DONTWAIT);
        if (size >= 0 || errno != EAGAIN)
            return size;
        *message = fresh;
        sched_yield();
    } while (now() < end);
    errno = EAGAIN;
    return -1;
}

// Whether one of the signals (bit n - 1 for signal n) ends a wait that is not begun again.
static bool ends_wait(uint64_t signals) {
    for (; signals != 0; signals &= signals - 1) {
        struct sigaction action;
        if (sigaction(__builtin_ctzll(signals) + 1, NULL, &action) == 0
            && action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN
            && !(action.sa_flags & SA_RESTART))
            return true;
    }
    return false;
}

// As poll_reply, where a signal ends the wait. One that came while the thread was awake would find
// nothing to end: signals are held off so long, and count as if they had found it asleep. EINTR.
static long poll_reply_undisturbed(int socket, struct msghdr *message, int flags) {
    const uint64_t all = UINT64_MAX;
    uint64_t before, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    long size = poll_reply(socket, message, flags);
    int error = errno;
    if (size < 0 && error == EAGAIN && syscall(SYS_rt_sigpending, &pending, sizeof pending) == 0
        && ends_wait(pending & ~before))
        error = EINTR;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    errno = error;
    return size;
}

// The size of the message, 0 at the end of the stream, or -errno.
static long receive(
    int socket, struct shim_request *request, struct iovec *pieces, size_t count, int flags,
    int *cut) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * GPUVM_MAX_MESSAGE_FDS)];
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    const int wanted = flags | MSG_CMSG_CLOEXEC;
    if (!(flags & MSG_PEEK)) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
    }
    const struct msghdr fresh = message;
    long size = (request->interruptible ? poll_reply_undisturbed : poll_reply)(
        socket, &message, wanted);
    while (size < 0 && (errno == EAGAIN || (errno == EINTR && !request->interruptible))) {
        message = fresh;
        size = syscall(SYS_recvmsg, socket, &message, wanted);
    }
    if (size < 0)
        return -errno;
    *cut = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
    if (flags & MSG_PEEK)
        return size;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        request->received_count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(request->received, CMSG_DATA(part), part->cmsg_len - CMSG_LEN(0));
    }
    return size;
}

static bool fits(
    const struct shim_stream *stream, const struct shim_request *request,
    const struct gpuvm_header *header) {
    return header->opcode == request->opcode && header->serial == stream->serial
        && header->flags & GPUVM_HEADER_REPLY && header->status >= 0;
}

static int reject(const struct gpuvm_header *header, const char *text, size_t bytes) {
    shim_debug(
        "the daemon rejects the request: %s: %.*s", strerrordesc_np(header->status), (int)bytes,
        text);
    errno = header->status;
    return SHIM_REJECTED;
}

// The reply is looked at before anything is scattered.
static int collect_long(
    const struct shim_stream *stream, struct shim_request *request, bool *in_step) {
    struct gpuvm_header header = {0};
    struct gpuvm_error_reply error;
    char text[1024];
    struct iovec pieces[SHIM_MAX_PIECES + 1] = {{&header, sizeof header}};
    int cut;
    long size = receive(stream->fd, request, pieces, 1, MSG_PEEK, &cut);
    if (size <= 0)
        return size < 0 ? (int)size : -ENODEV;
    if (size < (long)sizeof header || !fits(stream, request, &header))
        return -EPROTO;
    size_t expected = total(request->in, request->in_count);
    bool outside = header.flags & GPUVM_HEADER_EXTERNAL;
    if (header.status > 0) {
        pieces[1] = (struct iovec){&error, sizeof error};
        pieces[2] = (struct iovec){text, sizeof text};
        size = receive(stream->fd, request, pieces, 3, 0, &cut);
        drop_fds(request);
        *in_step = size >= (long)(sizeof header + sizeof error);
        if (!*in_step)
            return -EPROTO;
        return reject(&header, text, (size_t)size - sizeof header - sizeof error);
    }
    if (outside) {
        size = receive(stream->fd, request, pieces, 1, 0, &cut);
        if (size != sizeof header || cut || request->received_count < 1
            || header.length != expected)
            return -EPROTO;
        int result = transfer(SYS_pread64, request->received[0], request->in, request->in_count);
        syscall(SYS_close, request->received[0]);
        request->received_count--;
        memmove(request->received, request->received + 1, sizeof(int) * request->received_count);
        *in_step = true;
        return result;
    }
    // Its length is known before a byte of it is written to the program.
    if (header.length != sizeof header + expected)
        return -EPROTO;
    memcpy(pieces + 1, request->in, sizeof *pieces * request->in_count);
    size = receive(stream->fd, request, pieces, request->in_count + 1, 0, &cut);
    // The kernel has taken the message off the stream although a piece could not be written.
    *in_step = size == -EFAULT || size == (long)header.length;
    if (cut & MSG_CTRUNC)
        return -EMFILE;
    return size < 0 ? (int)size : *in_step ? 0 : -EPROTO;
}

static int collect_short(
    const struct shim_stream *stream, struct shim_request *request, bool *in_step) {
    struct gpuvm_header header = {0};
    // The text of an error is longer than most replies.
    char rest[1024];
    struct iovec pieces[SHIM_MAX_PIECES + 2] = {{&header, sizeof header}};
    memcpy(pieces + 1, request->in, sizeof *pieces * request->in_count);
    pieces[request->in_count + 1] = (struct iovec){rest, sizeof rest};
    int cut = 0;
    long size = receive(stream->fd, request, pieces, request->in_count + 2, 0, &cut);
    if (size == 0)
        return -ENODEV;
    *in_step = size == -EFAULT;
    if (size < 0)
        return (int)size;
    if (size < (long)sizeof header || !fits(stream, request, &header))
        return -EPROTO;
    if (header.status > 0) {
        *in_step = true;
        return reject(&header, "", 0);
    }
    if (cut & MSG_CTRUNC) {
        *in_step = true;
        return -EMFILE;
    }
    *in_step = header.flags == GPUVM_HEADER_REPLY && header.length == (uint32_t)size
        && (size_t)size == sizeof header + total(request->in, request->in_count);
    return *in_step ? 0 : -EPROTO;
}

int shim_call(int file, uint64_t inode, struct shim_request *request) {
    request->received_count = 0;
    request->sent = false;
    struct shim_stream stream;
    bool fresh = false, broken = false, in_step = false;
    int result;
    // What went wrong with a stream that lay idle says nothing of the file.
    do {
        result = shim_stream_take(file, inode, &stream, &fresh);
        if (result < 0)
            return result;
        result = post(&stream, request, &broken);
        if (broken)
            shim_stream_return(&stream, false);
    } while (broken && !fresh);
    if (broken)
        return -ENODEV;
    if (result < 0) {
        // EFAULT and the like: nothing was sent.
        shim_stream_return(&stream, true);
        return result;
    }
    request->sent = true;
    bool look = request->peek || shim_config().debug;
    result = (look ? collect_long : collect_short)(&stream, request, &in_step);
    if (result == -ECONNRESET)
        result = -ENODEV;
    if (result != 0)
        drop_fds(request);
    if (result == -EPROTO)
        shim_debug("the daemon's reply to opcode %u is not understood", request->opcode);
    shim_stream_return(&stream, in_step);
    return result;
}
