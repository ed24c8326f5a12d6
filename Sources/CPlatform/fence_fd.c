#define _GNU_SOURCE
#include "gpuvm_fence_fd.h"
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int gpuvm_socket_identity(int fd, struct gpuvm_socket_identity *identity) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISSOCK(status.st_mode))
        return -ENOTSOCK;
    identity->inode = status.st_ino;
    return gpuvm_socket_cookie(fd, &identity->cookie);
}

int gpuvm_discard_incoming(int socket) {
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    int result = setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    return result < 0 ? -errno : 0;
}

int gpuvm_eventfd_create(uint32_t count) {
    int fd = eventfd(count, EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// A plain write blocks when the counter is full, O_NONBLOCK belongs to the client (it shares the
// open file) and eventfd refuses RWF_NOWAIT. An asynchronous operation that reports to the eventfd
// makes the kernel signal it, which cannot block. Reading /dev/null completes inside io_submit.
int gpuvm_eventfd_signal(uint64_t context, int null_fd, int eventfd) {
    char byte;
    struct iocb operation = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)null_fd,
        .aio_buf = (uint64_t)(uintptr_t)&byte,
        .aio_nbytes = 1,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)eventfd,
    };
    struct iocb *list[1] = {&operation};
    struct io_event done;
    struct timespec none = {0, 0};
    int error;
    // EAGAIN: the completions of other threads fill the ring; taking them out makes room.
    do {
        long submitted = syscall(SYS_io_submit, context, 1, list);
        error = submitted == 1 ? 0 : -errno;
        while (syscall(SYS_io_getevents, context, 0, 1, &done, &none) == 1) {
        }
    } while (error == -EAGAIN);
    return error;
}

int gpuvm_eventfd_check(int fd) {
    char path[40], target[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof target);
    if (length < 0)
        return errno == ENOENT ? -EBADF : -errno;
    static const char name[] = "anon_inode:[eventfd]";
    return length == sizeof name - 1 && memcmp(target, name, sizeof name - 1) == 0 ? 0 : -EINVAL;
}

int gpuvm_aio_create(uint32_t events, uint64_t *context) {
    aio_context_t created = 0;
    if (syscall(SYS_io_setup, events, &created) < 0)
        return -errno;
    *context = created;
    return 0;
}

void gpuvm_aio_destroy(uint64_t context) { syscall(SYS_io_destroy, context); }
