// Reading and writing memory that may not be there.
//
// The blocks of an ioctl need no probing: sendmsg(2) reads them and recvmsg(2) writes them, and
// both answer EFAULT. Only the argument itself has to be looked at first, for its counts and
// pointers. process_vm_readv(2) on the own process does that in one call without a descriptor; it
// needs no right to trace, so it works under gdb, strace and any ptrace_scope. Where a system call
// filter forbids it, the bytes go through a pipe.
#include "shim.h"

static int through_pipe(void *to, uintptr_t from, size_t bytes) {
    int ends[2];
    if (syscall(SYS_pipe2, ends, O_CLOEXEC) < 0)
        return -errno;
    // A pipe holds at least a page; an argument has at most 16383 bytes.
    int result = 0;
    for (size_t done = 0; done < bytes && result == 0;) {
        size_t piece = bytes - done < 4096 ? bytes - done : 4096;
        long written = syscall(SYS_write, ends[1], from + done, piece);
        if (written <= 0 || syscall(SYS_read, ends[0], (char *)to + done, written) != written)
            result = -EFAULT;
        else
            done += (size_t)written;
    }
    syscall(SYS_close, ends[0]);
    syscall(SYS_close, ends[1]);
    return result;
}

int shim_copy_in(void *to, uintptr_t from, size_t bytes) {
    if (bytes == 0)
        return 0;
    int saved = errno;
    struct iovec local = {to, bytes}, remote = {(void *)from, bytes};
    // The last of six goes by the stack: of an int, half would be what lay there, and no flags.
    long copied = syscall(SYS_process_vm_readv, getpid(), &local, 1UL, &remote, 1UL, 0UL);
    int result = copied == (long)bytes ? 0 : -EFAULT;
    if (copied < 0 && errno != EFAULT)
        result = through_pipe(to, from, bytes);
    errno = saved;
    return result;
}

int shim_copy_out(uintptr_t to, const void *from, size_t bytes) {
    int saved = errno;
    struct iovec local = {(void *)from, bytes}, remote = {(void *)to, bytes};
    long copied = syscall(SYS_process_vm_writev, getpid(), &local, 1UL, &remote, 1UL, 0UL);
    int result = copied == (long)bytes ? 0 : -EFAULT;
    if (copied < 0 && errno != EFAULT) {
        // A filter: then as any program writes.
        memcpy((void *)to, from, bytes);
        result = 0;
    }
    errno = saved;
    return result;
}

// The kernel copies the new mask before it looks at what to do with it, and refuses that: a look at
// eight bytes that changes nothing, in the cheapest call that reads memory. Where a filter forbids
// it, the address counts as good.
bool shim_readable(const void *address) {
    uintptr_t first = (uintptr_t)address;
    if (first < 4096)
        return false;
    int saved = errno;
    long result = syscall(SYS_rt_sigprocmask, -1, (const void *)(first & ~(uintptr_t)7), NULL, 8);
    bool there = result == 0 || errno != EFAULT;
    errno = saved;
    return there;
}

ssize_t shim_copy_string(char *to, const char *from, size_t room) {
    for (size_t length = 0; length < room;) {
        // A string may end on the last page that is there.
        size_t piece = 4096 - ((uintptr_t)(from + length) & 4095);
        piece = piece < room - length ? piece : room - length;
        int result = shim_copy_in(to + length, (uintptr_t)(from + length), piece);
        if (result < 0)
            return result;
        const char *end = memchr(to + length, 0, piece);
        if (end)
            return end - to;
        length += piece;
    }
    return -ENAMETOOLONG;
}
